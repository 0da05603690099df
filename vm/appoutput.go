package vm

import (
	"bytes"
	"io"

	"github.com/kindling-vm/kindling/guest/contract"
)

// maxHeld bounds what AppOutput keeps in memory, in bytes. No line of init's is
// longer by much: its messages quote paths and errors.
const maxHeld = 64 << 10

// AppOutput passes on what the guest's application writes, out of all that
// comes over the serial console: the bytes between init's line that the
// application starts and its exit sentinel, without the lines that init and the
// agent write in between. The terminal's "\r\n" becomes "\n" again.
//
// What an application writes in the form of such a line is taken for one. That
// costs the application its own line and nothing else: only the sentinel that
// FindExit finds is the outcome. Behind a sentinel of its own, its output is
// held back until there is too much of it for last words of the kernel, or until
// the next sentinel.
type AppOutput struct {
	out     io.Writer
	started bool
	held    []byte // could become a line of the guest's own with more bytes
	own     bool   // such a line has begun and not ended
	line    []byte // the start of that line
	ended   bool   // a sentinel has come
	after   []byte // the output behind it
}

// NewAppOutput writes the application's output to out.
func NewAppOutput(out io.Writer) *AppOutput {
	return &AppOutput{out: out}
}

// ContinueAppOutput is for a machine that was restored, whose application has
// started before.
func ContinueAppOutput(out io.Writer) *AppOutput {
	return &AppOutput{out: out, started: true}
}

// headers start a line that init or the agent wrote, which may stand behind
// output of the application that did not end in a newline. 0 is any digit.
var headers = []string{
	"0000-00-00T00:00:00Z [INFO] [hypeman-init:",
	"0000-00-00T00:00:00Z [ERROR] [hypeman-init:",
	"0000/00/00 00:00:00 [guest-agent] ",
}

// Write takes serial output in pieces of any size. Its error is out's.
func (a *AppOutput) Write(p []byte) (int, error) {
	text := append(a.held, p...)
	a.held = nil
	for len(text) > 0 {
		if a.own {
			line, rest, found := bytes.Cut(text, []byte("\n"))
			a.line = append(a.line, line[:min(len(line), maxHeld-len(a.line))]...)
			text = rest
			if found {
				if err := a.endLine(); err != nil {
					return 0, err
				}
			}
			continue
		}
		at, whole := findHeader(text)
		if err := a.pass(text[:at]); err != nil {
			return 0, err
		}
		text = text[at:]
		if a.own = whole; !whole {
			a.held = bytes.Clone(text)
			break
		}
	}
	return len(p), nil
}

// Flush passes on what is held back: output behind which no more comes.
func (a *AppOutput) Flush() error {
	text := a.held
	a.held = nil
	return a.pass(text)
}

// findHeader finds the first header in text or, if it is not whole, what could
// become one or the terminal's line end with more bytes behind text.
func findHeader(text []byte) (at int, whole bool) {
	for at, b := range text {
		if b < '0' || b > '9' {
			continue
		}
		for _, header := range headers {
			if n := min(len(header), len(text)-at); matches(text[at:at+n], header[:n]) {
				return at, n == len(header)
			}
		}
	}
	return len(bytes.TrimSuffix(text, []byte("\r"))), false
}

func matches(text []byte, pattern string) bool {
	for i, b := range text {
		if pattern[i] != b && (pattern[i] != '0' || b < '0' || b > '9') {
			return false
		}
	}
	return true
}

// endLine looks at a complete line of the guest's own.
func (a *AppOutput) endLine() error {
	line := a.line
	a.own, a.line = false, nil
	switch {
	case !a.started:
		a.started = bytes.Contains(line, []byte(contract.ProgramStartMarker+" "))
	case bytes.Contains(line, []byte(contract.ExitMarker)):
		err := a.passAfter() // the sentinel before was not init's
		a.ended = true
		return err
	}
	return nil
}

// pass writes output of the application.
func (a *AppOutput) pass(text []byte) error {
	if !a.started || len(text) == 0 {
		return nil
	}
	if a.ended {
		if a.after = append(a.after, text...); len(a.after) <= maxHeld {
			return nil
		}
		return a.passAfter()
	}
	_, err := a.out.Write(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
	return err
}

func (a *AppOutput) passAfter() error {
	text := a.after
	a.ended, a.after = false, nil
	return a.pass(text)
}
