package qemu

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// The test binary is also the programs that tests start. This is what they do:
const (
	qemuEnv  = "KINDLING_TEST_QEMU"
	vhostEnv = "KINDLING_TEST_VHOST"
	// aliveEnv names a file that they have locked while they live.
	aliveEnv = "KINDLING_TEST_ALIVE"
)

func TestMain(m *testing.M) {
	programs := map[string]func() error{
		"qemu-system-x86_64": fakeQEMU,
		"vhost-device-vsock": fakeVhost,
		"parent":             parent,
		"child":              child,
	}
	program, ok := programs[filepath.Base(os.Args[0])]
	if !ok {
		os.Exit(m.Run())
	}
	// As QEMU and programs in Rust do.
	signal.Ignore(syscall.SIGPIPE)
	err := stayAlive()
	if err == nil {
		err = program()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func stayAlive() error {
	name := os.Getenv(aliveEnv)
	if name == "" {
		return nil
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY, 0) // until this process ends
	if err != nil {
		return err
	}
	return syscall.Flock(fd, syscall.LOCK_SH)
}

func fakeQEMU() error {
	switch os.Getenv(qemuEnv) {
	case "fails":
		return errors.New("-blockdev driver=raw: could not open disk")
	case "speaks":
		fmt.Print("\x1b[2J[    0.0] Linux ver")
		fmt.Print("sion 6.12.0\r\n")
		return nil
	case "speaks and runs on":
		fmt.Print("Linux version 6.12.0\r\n")
	case "is silent":
		fmt.Print("SeaBIOS\r\n")
		return nil
	case "connects":
		conn, err := net.Dial("unix", argument("-chardev", "path="))
		if err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return fmt.Errorf("vhost-user: lost: %w", err)
		}
	case "prints":
		fmt.Print(strings.Repeat("0123456789abcde\n", 1<<16))
		return nil
	case "starts":
		fmt.Print("up\n")
	}
	return forever()
}

// argument is the last value, that of key, in the argument behind name.
func argument(name, key string) string {
	for i, arg := range os.Args[:len(os.Args)-1] {
		if _, value, found := strings.Cut(os.Args[i+1], key); arg == name && found {
			return strings.ReplaceAll(value, ",,", ",")
		}
	}
	return ""
}

func fakeVhost() error {
	flags := flag.NewFlagSet("vhost-device-vsock", flag.ContinueOnError)
	cid := flags.Uint("guest-cid", 0, "")
	socket := flags.String("socket", "", "")
	uds := flags.String("uds-path", "", "")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *cid != 3 || filepath.Dir(*socket) != filepath.Dir(*uds) {
		return fmt.Errorf("got arguments %q", os.Args)
	}
	mode := os.Getenv(vhostEnv)
	switch mode {
	case "fails":
		return errors.New("could not bind: no permission")
	case "ends":
		return nil
	case "is silent":
		return forever()
	}
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		return err
	}
	if mode == "fails later" {
		if _, err := listener.Accept(); err != nil {
			return err
		}
		return errors.New("could not map memory")
	}
	return forever()
}

// forever waits for the end that others bring.
func forever() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	_, err = read.Read(make([]byte, 1))
	return err
}

// parent starts a child as machines' programs are started.
func parent() error {
	cmd := exec.Command(filepath.Join(filepath.Dir(os.Args[0]), "child"))
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "pipe")}
	p, err := startProcess(cmd, io.Discard)
	if err != nil {
		return err
	}
	<-p.done
	return p.err
}

// child tells its parent's parent that it runs.
func child() error {
	if _, err := os.NewFile(3, "pipe").Write([]byte("up")); err != nil {
		return err
	}
	return forever()
}

// usePrograms makes a PATH with nothing but some of this binary's programs.
// What it returns checks that none of them lives.
func usePrograms(t *testing.T, names ...string) (requireGone func()) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	alive, err := os.Create(filepath.Join(dir, "alive"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := alive.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("PATH", dir)
	t.Setenv(aliveEnv, alive.Name())
	return func() {
		t.Helper()
		if err := syscall.Flock(int(alive.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			t.Errorf("a program still lives: %v", err)
		}
		if err := syscall.Flock(int(alive.Fd()), syscall.LOCK_UN); err != nil {
			t.Error(err)
		}
	}
}

// requireError checks that an error has some texts, none of which is "".
func requireError(t *testing.T, err error, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q in it", err, want)
		}
	}
}

// heard is a writer that tells of the first bytes.
type heard struct{ text chan string }

func newHeard() *heard { return &heard{make(chan string, 1)} }

func (h *heard) Write(p []byte) (int, error) {
	select {
	case h.text <- string(p):
	default:
	}
	return len(p), nil
}

func (h *heard) await(t *testing.T) string {
	t.Helper()
	select {
	case text := <-h.text:
		return text
	case <-time.After(patience):
		t.Fatal("nothing was written")
		return ""
	}
}
