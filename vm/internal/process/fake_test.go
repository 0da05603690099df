package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

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
		fmt.Print(strings.Repeat("0123456789abcde\n", 1<<16))
		return nil
	case "starts":
		fmt.Print("up\n")
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
	return forever()
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
