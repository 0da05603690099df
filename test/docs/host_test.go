//go:build !vm

package docs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/kindling-vm/kindling/guest/agent/server"
	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// hypervisor is QEMU's program for this machine.
var hypervisor = "qemu-system-" + system.GetArch()

// TestMain lets the test binary stand in for the programs of a machine, whose
// application prints a line, and then ends, or if it is staysEnv waits until it
// is told to stop.
func TestMain(m *testing.M) {
	qemutest.Main(m, map[string]func() error{hypervisor: standInQEMU, "vhost-device-vsock": standInVsock})
}

const staysEnv = "KINDLING_TEST_STAYS"

func standInQEMU() error {
	device, err := net.Dial("unix", qemutest.Argument("-chardev", "path="))
	if err != nil {
		return err
	}
	const line = "2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] %s\r\n"
	fmt.Printf(line+"hello\r\n", contract.ProgramStartMarker+" ts=2026-02-13T15:26:27.1Z mode=exec")
	if os.Getenv(staysEnv) != "" {
		if _, err := device.Read(make([]byte, 1)); err != nil {
			return err
		}
	}
	fmt.Printf(line, contract.NewExitInfo(0))
	return nil
}

// standInVsock serves the real agent, which has this machine for a guest.
func standInVsock() error {
	arguments := map[string]string{}
	for i, arg := range os.Args[:len(os.Args)-1] {
		arguments[arg] = os.Args[i+1]
	}
	guest, err := net.Listen("unix", arguments["--uds-path"])
	if err != nil {
		return err
	}
	device, err := net.Listen("unix", arguments["--socket"])
	if err != nil {
		return err
	}
	qemu, err := device.Accept()
	if err != nil {
		return err
	}
	return server.New(server.Options{
		Kill: func(int, syscall.Signal) error {
			_, err := qemu.Write([]byte{0})
			return err
		},
		ShutdownFile: filepath.Join(filepath.Dir(arguments["--uds-path"]), "shutdown.json"),
	}).Serve(hybrid{guest})
}

// hybrid listens as hypervisors do for connections to the guest's vsock.
type hybrid struct{ net.Listener }

func (l hybrid) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, make([]byte, len("CONNECT 2222\n"))); err != nil {
		return nil, err
	}
	_, err = io.WriteString(conn, "OK 1024\n")
	return conn, err
}

// host is a machine on which somebody types what a page says: in a folder of
// its own with an artifact set, next to an empty registry.
type host struct {
	dir        string
	registry   string // HOST:PORT
	programDir string // for programs of the tree
	shell      string
	programs   *qemutest.Programs
}

func newHost(t *testing.T, kindling string) *host {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "KINDLING_") || name == "BUILD_WORKING_DIRECTORY" {
			t.Setenv(name, "")
		}
	}
	state := qemutest.ShortDir(t, "k")
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	h := &host{dir: t.TempDir(), programDir: filepath.Dir(kindling), registry: strings.TrimPrefix(server.URL, "http://"), shell: shell}
	h.programs = qemutest.Use(t, hypervisor, "vhost-device-vsock")
	for name, value := range map[string]string{
		"PATH":               filepath.Dir(kindling) + ":" + os.Getenv("PATH") + ":" + path,
		"KINDLING_STATE_DIR": state,
		"KINDLING_DATA_DIR":  filepath.Join(h.dir, "installed"),
		"KINDLING_ARTIFACTS": filepath.Join(h.dir, "bazel-bin/system/bundle/manifest.json"),
		"KINDLING_ACCEL":     "tcg",
		"DOCKER_CONFIG":      t.TempDir(),
	} {
		t.Setenv(name, value)
	}
	writeSet(t, filepath.Join(h.dir, "bazel-bin/system/bundle"), "aarch64", "x86_64")
	h.writeImage(t)
	t.Cleanup(func() { h.end(t) })
	return h
}

// writeImage makes an image as a file, as a folder and in the registry.
func (h *host) writeImage(t *testing.T) {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{Cmd: []string{"true"}}, RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		t.Fatal(err)
	}
	content := layer(t)
	base, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, base); err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(h.registry + "/team/web:1.2")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := layout.Write(filepath.Join(h.dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		folder.AppendImage(image),
		tarball.WriteToFile(filepath.Join(h.dir, "image.tar"), reference, image),
		remote.Write(reference, image),
	); err != nil {
		t.Fatal(err)
	}
}

// layer is a layer with one folder.
func layer(t *testing.T) []byte {
	t.Helper()
	var data bytes.Buffer
	compressor := gzip.NewWriter(&data)
	archive := tar.NewWriter(compressor)
	err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "bin", Mode: 0o755})
	if err := errors.Join(err, archive.Close(), compressor.Close()); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

// run runs a command line in the host's folder, which must succeed.
func (h *host) run(t *testing.T, line string) (stdout string) {
	t.Helper()
	line = strings.NewReplacer("registry.example", h.registry, "8080:80", freePort(t)+":80").Replace(line)
	cmd := exec.Command(h.shell, "-c", line)
	cmd.Dir, cmd.Env = h.dir, os.Environ()
	if strings.Contains(line, " -d ") {
		cmd.Env = append(cmd.Env, staysEnv+"=1")
	}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		_ = errors.As(err, &exit)
		t.Fatalf("%s: %v\n%s%s", line, err, out, exit.Stderr)
	}
	return string(out)
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		t.Fatal(err)
	}
	return port
}

// end ends the machines that run still.
func (h *host) end(t *testing.T) {
	t.Helper()
	for name := range strings.FieldsSeq(h.run(t, "kindling ps -o id")) {
		h.run(t, "kindling rm -f "+name)
	}
	h.programs.AwaitGone(t)
}

// writeSet writes an artifact set to a folder, with small files, for
// architectures.
func writeSet(t *testing.T, dir string, arches ...string) {
	t.Helper()
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol}
	kernels := map[string][]byte{"aarch64": kerneltest.Image(), "x86_64": kerneltest.VMLinux(kerneltest.PVH())}
	for _, arch := range arches {
		info, err := (&bundle.KernelDescription{Version: bundle.KernelDescriptionVersion, Arch: arch, Release: "6.1.0"}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		a := bundle.Architecture{Arch: arch, CommandLine: "console=ttyS0"}
		for kind, content := range map[bundle.Kind][]byte{
			bundle.Kernel: kernels[arch], bundle.Initrd: []byte("initrd"), bundle.KernelInfo: info, bundle.Base: layer(t),
		} {
			name := filepath.Join(arch, string(kind))
			writeFile(t, filepath.Join(dir, name), content)
			file, err := bundle.Describe(os.DirFS(dir), kind, name)
			if err != nil {
				t.Fatal(err)
			}
			a.Files = append(a.Files, file)
		}
		m.Architectures = append(m.Architectures, a)
	}
	data, err := m.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "manifest.json"), data)
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, content, 0o644)); err != nil {
		t.Fatal(err)
	}
}
