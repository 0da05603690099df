package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// programEnv says what the program does that the test binary stands in for.
const programEnv = "KINDLING_TEST_PROGRAM"

func TestMain(m *testing.M) {
	qemutest.Main(m, map[string]func() error{"program": program, "parent": parent, "child": child})
}

func program() error {
	signal.Ignore(syscall.SIGPIPE) // as QEMU does, and programs in Rust
	switch os.Getenv(programEnv) {
	case "fails":
		return errors.New("could not open disk")
	case "prints":
		fmt.Print(processtest.LongText)
		return nil
	case "starts":
		fmt.Print("up\n")
	}
	return processtest.Forever()
}

// parent starts a child as machines' programs are started.
func parent() error {
	cmd := exec.Command(filepath.Join(filepath.Dir(os.Args[0]), "child"))
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "pipe")}
	p, err := Start(cmd, io.Discard)
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
	return processtest.Forever()
}
