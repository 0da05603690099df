package vm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/kindling-vm/kindling/guest/contract"
)

// ErrNoExit says that a serial log has no exit sentinel: the guest still runs,
// it was killed, or it is one that prints none (systemd mode).
var ErrNoExit = errors.New("no exit sentinel")

// ReadExit finds how the guest's application ended in the last
// contract.ExitTail bytes of the serial log at path. Where SerialLog has rotated
// the log and path is shorter than that, the end of the rotated file counts as
// well. A log that has no exit sentinel, or does not exist, is ErrNoExit.
//
// It cannot tell one boot from another: start each with a log of its own.
func ReadExit(path string) (contract.ExitInfo, error) {
	tail, err := readTail(path, contract.ExitTail)
	if err == nil && len(tail) < contract.ExitTail {
		var before []byte
		before, err = readTail(path+rotatedSuffix, contract.ExitTail-len(tail))
		tail = append(before, tail...)
	}
	if err != nil {
		return contract.ExitInfo{}, fmt.Errorf("read exit: %w", err)
	}
	info, ok := contract.FindExit(tail)
	if !ok {
		return contract.ExitInfo{}, fmt.Errorf("read exit from %q: %w", path, ErrNoExit)
	}
	return info, nil
}

// readTail reads the last limit bytes of a file, none if there is no file.
func readTail(path string, limit int) (tail []byte, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	// The file may grow meanwhile; limit bounds the read all the same.
	tail, err = io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-int64(limit)), int64(limit)))
	return tail, err
}
