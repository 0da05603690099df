// Package processtest has what the tests of processes and of machines, which are
// processes, check in the same way. What the processes run is qemutest's.
package processtest

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// Patience is how long a test waits for what must happen.
const Patience = 60 * time.Second

// LongText is 1 MiB, more than a pipe holds.
var LongText = strings.Repeat("0123456789abcde\n", 1<<16)

// Limited is the test's context with a limit, so that what hangs fails.
func Limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), Patience, errors.New("test lost its patience"))
	t.Cleanup(cancel)
	return ctx
}

// Forever is for a program: it waits for the end that others bring.
func Forever() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	_, err = read.Read(make([]byte, 1))
	return err
}

// RequireError checks that an error has some texts, none of which is "".
func RequireError(t *testing.T, err error, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q in it", err, want)
		}
	}
}

// Output is a writer that tells of the first bytes.
type Output struct{ text chan string }

// NewOutput is an output that has nothing yet.
func NewOutput() *Output { return &Output{make(chan string, 1)} }

func (o *Output) Write(p []byte) (int, error) {
	select {
	case o.text <- string(p):
	default:
	}
	return len(p), nil
}

// Await waits for the first bytes and gives them.
func (o *Output) Await(t *testing.T) string {
	t.Helper()
	select {
	case text := <-o.text:
		return text
	case <-time.After(Patience):
		t.Fatal("nothing was written")
		return ""
	}
}
