// Package initramfstest makes small initrds for tests, good and bad ones.
package initramfstest

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Entry is one entry of an archive, as its header will say it but for what has
// an obvious value. Nothing of it is checked.
type Entry struct {
	Name                 string
	Mode                 uint32 // default: a regular file that all may read
	UID, GID             uint32
	Inode, Nlink         uint32 // default of Nlink: 1
	RdevMajor, RdevMinor uint32
	Data                 string // of a file, or a link's target
	Checksum             uint32 // if not 0, the archive is one with checksums
}

// Archive is a newc archive with a trailer.
func Archive(entries ...Entry) []byte {
	return append(Entries(entries...), Entries(Entry{Name: "TRAILER!!!", Mode: 0o100000})...)
}

// Entries is an archive without a trailer.
func Entries(entries ...Entry) []byte {
	var data []byte
	for _, e := range entries {
		magic := "070701"
		if e.Checksum != 0 {
			magic = "070702"
		}
		if e.Mode == 0 {
			e.Mode = 0o100644
		}
		data = append(data, magic...)
		for _, field := range []uint32{
			e.Inode, e.Mode, e.UID, e.GID, max(e.Nlink, 1), 0, uint32(len(e.Data)),
			0, 0, e.RdevMajor, e.RdevMinor, uint32(len(e.Name) + 1), e.Checksum,
		} {
			data = fmt.Appendf(data, "%08X", field)
		}
		data = Align(append(data, e.Name+"\x00"...))
		data = Align(append(data, e.Data...))
	}
	return data
}

// Align adds zeros to a multiple of 4 bytes.
func Align(data []byte) []byte {
	return append(data, make([]byte, -len(data)&3)...)
}

// Gzip compresses data.
func Gzip(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	must(w.Write(data))
	must(0, w.Close())
	return buf.Bytes()
}

// Zstd compresses data to one frame.
func Zstd(data []byte) []byte {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
	must(0, err)
	must(w.Write(data))
	must(0, w.Close())
	return buf.Bytes()
}

// must stops at an error, which a bytes.Buffer does not give.
func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}
