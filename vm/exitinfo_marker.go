package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/kindling-vm/kindling/guest/contract"
)

// ErrNoMarker says that a serial log does not have a marker: the guest has not
// come so far, or it is one that prints none.
var ErrNoMarker = errors.New("no marker")

const (
	// maxLine bounds what of a line is in memory, in bytes.
	maxLine = 64 << 10
	// maxMarker is more than a marker and its time take, in bytes.
	maxMarker = 256
)

// ProgramStart finds when init started the application, by the guest's clock: the
// latest time that a program start marker says. Without one it is ErrNoMarker.
func (l BootLog) ProgramStart() (time.Time, error) {
	return l.findMarker(contract.ProgramStartMarker)
}

// AgentReady finds when the agent began to listen, by the guest's clock: the
// latest time that an agent ready marker says. Without one it is ErrNoMarker.
func (l BootLog) AgentReady() (time.Time, error) {
	return l.findMarker(contract.AgentReadyMarker)
}

func (l BootLog) findMarker(marker string) (time.Time, error) {
	var latest time.Time
	found := false
	see := func(line []byte) {
		// Most lines have none and are not worth a string.
		if !bytes.Contains(line, []byte(marker)) {
			return
		}
		if at, ok := contract.ParseMarker(string(line), marker); ok && (!found || at.After(latest)) {
			latest, found = at, true
		}
	}
	err := l.eachPart(func(file *os.File, size int64) (more bool, err error) {
		// A guest may write faster than this reads.
		return true, scanLines(io.NewSectionReader(file, 0, size), see)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("find %s: %w", marker, err)
	}
	if !found {
		return time.Time{}, fmt.Errorf("find %s in %q: %w", marker, l.Path, ErrNoMarker)
	}
	return latest, nil
}

// scanLines shows all lines without their ends. One that is longer than maxLine
// comes in pieces, each of which begins with the last maxMarker bytes of the one
// before.
func scanLines(r io.Reader, see func(line []byte)) error {
	buffer := make([]byte, maxLine)
	have := 0
	for {
		n, err := r.Read(buffer[have:])
		rest := buffer[:have+n]
		for {
			line, after, found := bytes.Cut(rest, []byte("\n"))
			if !found {
				break
			}
			see(line)
			rest = after
		}
		if err != nil {
			see(rest)
			if err == io.EOF {
				return nil
			}
			return err
		}
		if len(rest) == len(buffer) {
			see(rest)
			rest = rest[len(rest)-maxMarker:]
		}
		have = copy(buffer, rest)
	}
}
