// Package kerneltest holds the archives of tools/internal/newc to the kernel: its
// test boots a machine with archives of every kind and compares what the kernel
// unpacked with what was written and with what internal/initramfs reads.
//
// Outside the test it has only what the test and the machine's init share: how
// the init, lister, tells what it finds.
package kerneltest

import (
	"fmt"
	"strconv"
)

// Begin and End are the lines around lister's lines, each of which is a File in
// JSON. Behind End stands how many there are.
const (
	Begin = "kerneltest: begin"
	End   = "kerneltest: end "
)

// File is what the machine has under a path, as lstat(2) tells it.
type File struct {
	Path   Bytes  // from the root, without a leading slash; the root itself is "."
	Mode   uint32 // type and permissions
	UID    uint32 `json:",omitzero"`
	GID    uint32 `json:",omitzero"`
	Nlink  uint64
	Inode  uint64
	Size   int64  `json:",omitzero"`
	SHA256 string `json:",omitzero"` // of a regular file's content if it has some, in hexadecimal
	Target Bytes  `json:",omitzero"` // of a symbolic link
}

// Bytes is text that need not be UTF-8. In JSON it is quoted as in Go, since JSON
// cannot hold other bytes and a console changes some.
type Bytes string

// MarshalText quotes the text.
func (b Bytes) MarshalText() ([]byte, error) {
	return strconv.AppendQuoteToASCII(nil, string(b)), nil
}

// UnmarshalText is the inverse of MarshalText.
func (b *Bytes) UnmarshalText(quoted []byte) error {
	text, err := strconv.Unquote(string(quoted))
	if err != nil {
		return fmt.Errorf("unquote %.200q: %w", quoted, err)
	}
	*b = Bytes(text)
	return nil
}
