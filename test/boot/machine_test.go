//go:build vm

package boot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/configdisk"
	"github.com/kindling-vm/kindling/vm/qemu"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// bootTimeout bounds a whole life of a machine. Under emulation it takes a few
// seconds.
const bootTimeout = 4 * time.Minute

// serialName is the file in a machine's folder with all of its serial output.
const serialName = "serial.log"

// oops is what a kernel prints that fell over, which an emulator at fault can
// make it do.
var oops = regexp.MustCompile(`Kernel panic[^\r\n]*|BUG: [^\r\n]*|Oops: [^\r\n]*|double fault[^\r\n]*`)

// machine is a booted machine whose application has ended.
type machine struct {
	exit        contract.ExitInfo
	output      string        // of the application
	serial      string        // everything
	firstOutput time.Duration // from the hypervisor's start to output's first byte
	disks       []vm.Disk     // as the machine left them
}

// consoleBytes is how much came over the console beside the application's output.
func (m *machine) consoleBytes() int { return len(m.serial) - len(m.output) }

// options are what differs between the machines of the tests.
type options struct {
	arch    string // x86_64 if empty
	memory  int    // in MiB, 256 if 0
	config  *contract.Config
	cmdline string                                  // behind that of the artifact set, or in its place if it has a console
	overlay int64                                   // size of the overlay disk in bytes, the least if 0
	initrd  string                                  // path, of the artifact set if empty
	running func(ctx context.Context, vsock string) // called while the machine runs
	image   []v1.Layer                              // of the root disk, behind the base layer
	timeout time.Duration                           // bootTimeout if 0
	network bool                                    // an interface behind user-mode networking
	bare    bool                                    // the image is all of the root disk
	// attach changes which disks are attached. Others go into dir.
	attach func(dir string, disks []vm.Disk) []vm.Disk
}

// platform is what machines of an architecture boot and how they run here.
type platform struct {
	*system.Set
	accel qemu.Accel
}

var platforms = map[string]func() (*platform, error){
	"aarch64": openPlatform("aarch64"),
	"x86_64":  openPlatform("x86_64"),
}

// openPlatform finds a platform once, since the probe takes seconds.
func openPlatform(arch string) func() (*platform, error) {
	return sync.OnceValues(func() (*platform, error) {
		manifest, err := runfiles.Rlocation("_main/system/bundle/manifest.json")
		if err != nil {
			return nil, err
		}
		set, err := system.Open(manifest, arch)
		if err != nil {
			return nil, err
		}
		accel, err := qemu.Probe(context.Background(), set.Arch, set.Kernel, os.Getenv("TEST_TMPDIR"))
		log.Printf("%s runs by %s", arch, accel)
		return &platform{set, accel}, err
	})
}

// boot runs a machine on the base layer to its end.
func boot(t testing.TB, o options) machine {
	t.Helper()
	set, err := platforms[cmp.Or(o.arch, "x86_64")]()
	if err != nil {
		t.Fatal(err)
	}
	// A Unix socket's address is too short for t.TempDir.
	dir, err := os.MkdirTemp("/tmp", "boot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(o.timeout, bootTimeout))
	defer cancel()
	if !strings.Contains(o.cmdline, "console=") {
		o.cmdline = set.CommandLine + " " + o.cmdline
	}
	serialLog := filepath.Join(dir, serialName)
	capped, err := vm.OpenSerialLog(serialLog, 0)
	if err != nil {
		t.Fatal(err)
	}
	if o.initrd == "" {
		o.initrd = set.Initrd
	}
	disks := writeDisks(t, dir, set.Set, o)
	if o.attach != nil {
		disks = o.attach(dir, disks)
	}
	output := &timedBuffer{start: time.Now()}
	app := vm.NewAppOutput(output)
	running, err := qemu.Start(ctx, vm.Spec{
		Dir: dir, Arch: set.Arch, Kernel: set.Kernel, Initrd: o.initrd, Cmdline: o.cmdline,
		MemoryMiB: cmp.Or(o.memory, 256), CPUs: 1, CID: 3, Disks: disks,
		Serial: io.MultiWriter(capped, app), UserNetwork: o.network,
	}, set.accel)
	if err != nil {
		t.Fatal(err)
	}
	if o.running != nil {
		o.running(ctx, vm.Vsock(dir))
	}
	err = errors.Join(running.Wait(ctx), app.Flush(), capped.Close())
	serial, readErr := os.ReadFile(serialLog)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if found := oops.Find(serial); found != nil {
		t.Fatalf("the guest's kernel fell over under %s: %s\nserial output:\n%s", set.accel, found, serial)
	}
	if err != nil {
		t.Fatalf("run machine: %v\nserial output:\n%s", err, serial)
	}
	exit, err := vm.ReadExit(serialLog)
	if err != nil {
		t.Fatalf("%v\nserial output:\n%s", err, serial)
	}
	return machine{exit: exit, output: output.String(), serial: string(serial), firstOutput: output.first, disks: disks}
}

// timedBuffer notes when its first byte came.
type timedBuffer struct {
	bytes.Buffer
	start time.Time
	first time.Duration
}

func (b *timedBuffer) Write(p []byte) (int, error) {
	if b.first == 0 {
		b.first = time.Since(b.start)
	}
	return b.Buffer.Write(p)
}

func writeDisks(t testing.TB, dir string, set *system.Set, o options) []vm.Disk {
	t.Helper()
	root, overlay, configPath := filepath.Join(dir, "root.ext4"), filepath.Join(dir, "overlay.raw"), filepath.Join(dir, "config.ext4")
	var layers []v1.Layer
	if !o.bare {
		base, err := tarball.LayerFromFile(set.Base)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, base)
	}
	if err := rootfs.WriteDisk(t.Context(), root, append(layers, o.image...), nil); err != nil {
		t.Fatal(err)
	}
	if err := rootfs.WriteOverlay(overlay, cmp.Or(o.overlay, rootfs.MinOverlay)); err != nil {
		t.Fatal(err)
	}
	if err := configdisk.Write(configPath, o.config); err != nil {
		t.Fatal(err)
	}
	return []vm.Disk{{Path: root, ReadOnly: true}, {Path: overlay}, {Path: configPath, ReadOnly: true}}
}
