package vm

import (
	"bytes"
	"io"
	"regexp"

	"github.com/kindling-vm/kindling/guest/contract"
)

// maxHeld bounds what AppOutput keeps back while it looks for the end of a
// line, in bytes. No line of init's is longer by much: its messages quote paths
// and errors.
const maxHeld = 64 << 10

// AppOutput passes on what the guest's application writes, out of all that
// comes over the serial console: the bytes between init's line that the
// application starts and its exit sentinel, without the lines that init and the
// agent write in between. The terminal's "\r\n" becomes "\n" again.
//
// What an application writes in the form of such a line is taken for one. That
// costs the application its own line and nothing else: only the sentinel that
// FindExit finds is the outcome.
type AppOutput struct {
	out     io.Writer
	held    []byte // since the last newline, not passed on yet
	started bool
	ended   bool
}

// NewAppOutput writes the application's output to out.
func NewAppOutput(out io.Writer) *AppOutput {
	return &AppOutput{out: out}
}

var (
	// guestLine is the start of a line that init or the agent wrote. It may stand
	// behind output of the application that did not end in a newline.
	guestLine = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[(?:INFO|ERROR)\] \[hypeman-init:|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[guest-agent\] `)
	// undecided is an end that more bytes could make a guestLine, or half of the
	// terminal's line end.
	undecided = regexp.MustCompile(`(?s)(?:\d{4}[-/]\d\d[-/].*|\d{1,4}|\d{4}[-/]\d{0,2}|\r)$`)
)

// Write takes serial output in pieces of any size. Its error is out's.
func (a *AppOutput) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		a.held = append(a.held, line...)
		rest = after
		if found {
			a.held = append(a.held, '\n')
		}
		if err := a.pass(found); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush passes on what is held back: output behind which no more comes.
func (a *AppOutput) Flush() error {
	return a.pass(true)
}

// pass writes what can be told from a line of the guest's own.
func (a *AppOutput) pass(complete bool) error {
	text := a.held
	switch {
	case !a.started || a.ended:
		if complete && !a.started {
			own := guestLine.FindIndex(text)
			a.started = own != nil && bytes.Contains(text[own[0]:], []byte(contract.ProgramStartMarker+" "))
		}
		if complete || len(text) > maxHeld {
			a.held = a.held[:0]
		}
		return nil
	case !complete:
		safe := len(text)
		if at := undecided.FindIndex(text); at != nil && safe-at[0] <= maxHeld {
			safe = at[0]
		}
		return a.write(safe)
	}
	own := guestLine.FindIndex(text)
	if own == nil {
		return a.write(len(text))
	}
	a.ended = bytes.Contains(text[own[0]:], []byte(contract.ExitMarker))
	err := a.write(own[0])
	a.held = a.held[:0]
	return err
}

// write passes on the first n held bytes.
func (a *AppOutput) write(n int) error {
	if n == 0 {
		return nil
	}
	text := bytes.ReplaceAll(a.held[:n], []byte("\r\n"), []byte("\n"))
	_, err := a.out.Write(text)
	a.held = append(a.held[:0], a.held[n:]...)
	return err
}
