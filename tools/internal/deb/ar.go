package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arHeaderEnd  = "`\n"
)

// arReader reads an ar archive with the short names that deb(5) allows. Source
// for the format: ar(5), common variant.
type arReader struct {
	r    io.Reader
	left int64 // bytes of the current member
	pad  int64 // bytes between the current member and the next header
}

func newArReader(r io.Reader) (*arReader, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, fmt.Errorf("read ar magic: %w", err)
	}
	if string(magic) != arMagic {
		return nil, errors.New("not an ar archive")
	}
	return &arReader{r: r}, nil
}

// next goes to the next member and returns its name, or io.EOF behind the last.
func (a *arReader) next() (string, error) {
	if n, err := io.CopyN(io.Discard, a.r, a.left+a.pad); err != nil {
		// Some writers leave out the byte behind an odd last member.
		if err == io.EOF && n == a.left {
			return "", io.EOF
		}
		return "", fmt.Errorf("read ar member: %w", unexpected(err))
	}
	a.left, a.pad = 0, 0
	header := make([]byte, arHeaderSize)
	if _, err := io.ReadFull(a.r, header); err == io.EOF {
		return "", io.EOF
	} else if err != nil {
		return "", fmt.Errorf("read ar header: %w", err)
	}
	name := strings.TrimRight(string(header[:16]), " ")
	if string(header[58:]) != arHeaderEnd {
		return "", fmt.Errorf("read ar header of %q: wrong end", name)
	}
	field := strings.TrimRight(string(header[48:58]), " ")
	size, err := strconv.ParseUint(field, 10, 62)
	if err != nil {
		return "", fmt.Errorf("read ar header of %q: size is %q", name, field)
	}
	a.left, a.pad = int64(size), int64(size&1)
	// GNU ar ends names with a slash, dpkg-deb does not.
	return strings.TrimSuffix(name, "/"), nil
}

// Read reads from the current member.
func (a *arReader) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.r.Read(p[:min(int64(len(p)), a.left)])
	a.left -= int64(n)
	if a.left > 0 {
		err = unexpected(err)
	} else if err == io.EOF {
		err = nil
	}
	return n, err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
