package qemu

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// patience is how long a test waits for what must happen.
const patience = processtest.Patience

// The test binary is also the programs that tests start. This is what they do:
const (
	qemuEnv    = "KINDLING_TEST_QEMU"
	vhostEnv   = "KINDLING_TEST_VHOST"
	monitorEnv = "KINDLING_TEST_MONITOR"
)

func TestMain(m *testing.M) {
	programs := map[string]func() error{
		"qemu-system-x86_64": fakeQEMU,
		"vhost-device-vsock": fakeVhost,
	}
	qemutest.Main(m, programs)
}

func fakeQEMU() error {
	signal.Ignore(syscall.SIGPIPE) // as QEMU does, and programs in Rust
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println(os.Getenv(qemuEnv))
		return nil
	}
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
		conn, err := net.Dial("unix", qemutest.Argument("-chardev", "path="))
		if err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return fmt.Errorf("vhost-user: lost: %w", err)
		}
	case "does not care":
		if _, err := net.Dial("unix", qemutest.Argument("-chardev", "path=")); err != nil {
			return err
		}
	case "prints":
		fmt.Print(processtest.LongText)
		return nil
	case "prints its command line":
		fmt.Print(strings.Join(append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), "\n"))
		return nil
	case "starts":
		fmt.Print("up\n")
	case "has a monitor":
		return fakeMonitor()
	}
	return processtest.Forever()
}

func fakeVhost() error {
	signal.Ignore(syscall.SIGPIPE)
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
		return processtest.Forever()
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
	return processtest.Forever()
}
