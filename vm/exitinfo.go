package vm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/guest/contract"
)

// ErrNoExit says that a serial log has no exit sentinel: the guest still runs,
// it was killed, or it is one that prints none (systemd mode).
var ErrNoExit = errors.New("no exit sentinel")

// BootLog is the serial output of one boot of a guest: a file, and what a
// rotation has moved out of it, by SerialLog or as logrotate does it.
//
// The guest wrote what it says. Only SignedExit tells init's words from an
// application's.
type BootLog struct {
	Path string // of the newest part; older ones have the names Path.1, Path.2...
	// Start is when the host started the guest. A part that has not changed
	// since is of another boot. The zero time takes all parts; within a part,
	// boots cannot be told apart.
	Start time.Time
	// Tail is how many bytes at the end are searched for the exit sentinel; 0 is
	// contract.ExitTail.
	Tail int
}

// ReadExit is BootLog.Exit of the log at path, with all that was rotated.
func ReadExit(path string) (contract.ExitInfo, error) {
	return BootLog{Path: path}.Exit()
}

// Exit finds how the guest's application ended: the last exit sentinel of the
// log's tail, since init prints after all others. A log that has none, or does
// not exist, is ErrNoExit.
func (l BootLog) Exit() (contract.ExitInfo, error) {
	return l.findExit(contract.ParseExit, slices.Backward[[]string])
}

// FirstExit finds the first exit sentinel of the log's tail instead, as hosts of
// version 0.0.7 do.
func (l BootLog) FirstExit() (contract.ExitInfo, error) {
	return l.findExit(contract.ParseExit, slices.All[[]string])
}

// SignedExit finds the last exit sentinel of the log's tail that has the MAC of
// the config's exit token; others do not count. Without a token, there is none.
func (l BootLog) SignedExit(token string) (contract.ExitInfo, error) {
	parse := func(line string) (contract.ExitInfo, bool) { return contract.ParseSignedExit(line, token) }
	return l.findExit(parse, slices.Backward[[]string])
}

func (l BootLog) findExit(
	parse func(line string) (contract.ExitInfo, bool), order func([]string) iter.Seq2[int, string],
) (contract.ExitInfo, error) {
	tail, err := l.readTail()
	if err != nil {
		return contract.ExitInfo{}, fmt.Errorf("read exit: %w", err)
	}
	for _, line := range order(strings.Split(tail, "\n")) {
		if info, ok := parse(line); ok {
			return info, nil
		}
	}
	return contract.ExitInfo{}, fmt.Errorf("read exit from %q: %w", l.Path, ErrNoExit)
}

// readTail reads the log's tail. It goes from new to old, so that a rotation
// meanwhile can bring bytes twice but lose none.
func (l BootLog) readTail() (string, error) {
	limit := l.Tail
	if limit <= 0 {
		limit = contract.ExitTail
	}
	var tail []byte
	err := l.eachPart(func(file *os.File, size int64) (more bool, err error) {
		part := int64(limit - len(tail))
		// The file may grow meanwhile; part bounds the read all the same.
		before, err := io.ReadAll(io.NewSectionReader(file, max(0, size-part), part))
		tail = append(before, tail...)
		return len(tail) < limit, err
	})
	return string(tail), err
}

// eachPart visits the boot's files, the newest first, for as long as there shall
// be more.
func (l BootLog) eachPart(visit func(file *os.File, size int64) (more bool, err error)) error {
	more, err := l.visitPart(l.Path, visit)
	if err != nil || !more {
		return err
	}
	rotated, err := l.rotated()
	if err != nil {
		return err
	}
	for _, path := range rotated {
		if more, err = l.visitPart(path, visit); err != nil || !more {
			return err
		}
	}
	return nil
}

func (l BootLog) visitPart(path string, visit func(file *os.File, size int64) (more bool, err error)) (more bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%q is not a regular file", path)
	}
	if info.ModTime().Before(l.Start) {
		return true, nil
	}
	return visit(file, info.Size())
}

// rotated lists the files that the log was rotated to, the newest first.
func (l BootLog) rotated() ([]string, error) {
	dir, base := filepath.Split(l.Path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, entry := range entries {
		text, found := strings.CutPrefix(entry.Name(), base+".")
		number, err := strconv.Atoi(text)
		// Atoi also takes a sign and zeros in front.
		if found && err == nil && number > 0 && text == strconv.Itoa(number) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	var paths []string
	for _, number := range numbers {
		paths = append(paths, fmt.Sprintf("%s.%d", l.Path, number))
	}
	return paths, nil
}
