// Package mtree reads and writes the listings of initrds: a subset of mtree(5),
// one line for each entry, parents before what they contain.
//
//	#mtree
//	./bin type=dir mode=0755 uid=0 gid=0
//	./bin/busybox type=file mode=0755 uid=0 gid=0 size=3 sha256digest=ba78...
//	./bin/sh type=link mode=0777 uid=0 gid=0 link=busybox
//
// It compares nothing with a file system.
package mtree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

const signature = "#mtree"

// maxLine bounds a line, in bytes: two paths with every byte escaped, and the
// rest.
const maxLine = 64 << 10

// Entry is a file in a listing.
type Entry struct {
	// Path is the path from the root without a leading slash; the root itself
	// is ".".
	Path     string
	Type     string // file, dir or link
	Mode     uint32 // permissions: 07777
	UID, GID uint32
	Target   string // of a link
	// SHA256 is a file's digest in hexadecimal. Without one the size is not
	// listed either: programs of ours change with every Go release, and a listing
	// in git would with them.
	SHA256 string
	Size   int64
	Nlink  uint32 // names of a file; 0 and 1 are both one
}

// appendLine appends the entry's line.
func (e *Entry) appendLine(line []byte) []byte {
	if e.Path != "." {
		line = append(line, "./"...)
	}
	line = appendEscaped(line, e.Path)
	line = fmt.Appendf(line, " type=%s mode=%04o uid=%d gid=%d", e.Type, e.Mode, e.UID, e.GID)
	switch {
	case e.Type == "link":
		line = appendEscaped(append(line, " link="...), e.Target)
	case e.SHA256 != "":
		line = fmt.Appendf(line, " size=%d sha256digest=%s", e.Size, e.SHA256)
	}
	if e.Nlink > 1 {
		line = fmt.Appendf(line, " nlink=%d", e.Nlink)
	}
	return append(line, '\n')
}

// appendEscaped writes a path as vis(3) does with VIS_OCTAL and VIS_GLOB: mtree
// takes white space for the end of a name, '#' for a comment, and glob characters
// for a pattern.
func appendEscaped(line []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`\#*?[`, c) >= 0 {
			line = fmt.Appendf(line, `\%03o`, c)
		} else {
			line = append(line, c)
		}
	}
	return line
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for {
		plain, rest, escaped := strings.Cut(s, `\`)
		b.WriteString(plain)
		if !escaped {
			return b.String(), nil
		}
		if len(rest) < 3 {
			return "", fmt.Errorf("%q ends within an escape", s)
		}
		c, err := strconv.ParseUint(rest[:3], 8, 8)
		if err != nil {
			return "", fmt.Errorf("%q is not an octal escape", `\`+rest[:3])
		}
		b.WriteByte(byte(c))
		s = rest[3:]
	}
}

// Writer writes a listing.
type Writer struct {
	w       io.Writer
	started bool
	line    []byte // memory that the lines share
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w}
}

// Write adds an entry.
func (w *Writer) Write(e *Entry) error {
	w.line = w.line[:0]
	if !w.started {
		w.line = append(w.line, signature+"\n"...)
		w.started = true
	}
	w.line = e.appendLine(w.line)
	_, err := w.w.Write(w.line)
	return err
}

// Parse reads a listing. Every entry must have type, mode, uid and gid, nothing
// may stand twice, and only what Writer writes is known.
func Parse(r io.Reader) ([]Entry, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var entries []Entry
	seen := map[string]bool{}
	number := 0
	for lines.Scan() {
		number++
		if number == 1 {
			if lines.Text() != signature {
				return nil, fmt.Errorf("line 1: got %q, want %s", lines.Text(), signature)
			}
			continue
		}
		entry, err := parseLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if seen[entry.Path] {
			return nil, fmt.Errorf("line %d: %q stands twice", number, entry.Path)
		}
		seen[entry.Path] = true
		entries = append(entries, *entry)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	return entries, nil
}

func parseLine(line string) (*Entry, error) {
	words := strings.Split(line, " ")
	name, err := unescape(words[0])
	if err != nil {
		return nil, err
	}
	var e Entry
	switch {
	case name == ".":
		e.Path = name
	case strings.HasPrefix(name, "./") && len(name) > 2:
		e.Path = name[2:]
	default:
		return nil, fmt.Errorf("path is %q, want ./...", name)
	}
	seen := map[string]bool{}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		if seen[key] {
			return nil, fmt.Errorf("%q: keyword %s stands twice", e.Path, key)
		}
		seen[key] = true
		if err := e.set(key, value); err != nil {
			return nil, fmt.Errorf("%q: keyword %s: %w", e.Path, key, err)
		}
	}
	for _, key := range []string{"type", "mode", "uid", "gid"} {
		if !seen[key] {
			return nil, fmt.Errorf("%q: keyword %s is missing", e.Path, key)
		}
	}
	if seen["link"] != (e.Type == "link") || seen["size"] != seen["sha256digest"] || seen["size"] && e.Type != "file" {
		return nil, fmt.Errorf("%q: keywords do not fit type %s", e.Path, e.Type)
	}
	return &e, nil
}

func (e *Entry) set(key, value string) (err error) {
	number := func(base, bits int) uint64 {
		var n uint64
		n, err = strconv.ParseUint(value, base, bits)
		return n
	}
	switch key {
	case "type":
		e.Type = value
		if value != "file" && value != "dir" && value != "link" {
			err = fmt.Errorf("type %q is not one of file, dir, link", value)
		}
	case "mode":
		e.Mode = uint32(number(8, 12))
	case "uid":
		e.UID = uint32(number(10, 32))
	case "gid":
		e.GID = uint32(number(10, 32))
	case "nlink":
		e.Nlink = uint32(number(10, 32))
	case "size":
		e.Size = int64(number(10, 63))
	case "link":
		e.Target, err = unescape(value)
	case "sha256digest":
		e.SHA256 = value
		if len(value) != 64 || strings.Trim(value, "0123456789abcdef") != "" {
			err = fmt.Errorf("%q is not 64 lower-case hexadecimal digits", value)
		}
	default:
		err = errors.New("it is unknown")
	}
	return err
}

// Compare is -1, 0 or 1 as path a stands before, at or behind path b in a walk:
// a directory before what it contains, names in the order of their bytes. The
// root "." stands first.
func Compare(a, b string) int {
	if a == "." {
		a = ""
	}
	if b == "." {
		b = ""
	}
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}
