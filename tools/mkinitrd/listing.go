package main

import (
	"fmt"
	"strings"

	"github.com/kindling-vm/kindling/internal/fstree"
)

// listingLine is the line of mtree(5) for an entry. Without a digest it has no
// size either: our own programs change with every Go release, and a listing in
// git would with them.
func listingLine(name string, n *fstree.Node, digest string) string {
	var line strings.Builder
	if name != "." {
		line.WriteString("./")
	}
	fmt.Fprintf(&line, "%s type=%v mode=%04o uid=%d gid=%d", escape(name), n.Type, n.Mode, n.UID, n.GID)
	switch {
	case n.Type == fstree.Symlink:
		fmt.Fprintf(&line, " link=%s", escape(n.Target))
	case digest != "":
		fmt.Fprintf(&line, " size=%d sha256digest=%s", n.Size, digest)
	}
	if n.Type == fstree.Regular && n.Nlink > 1 {
		fmt.Fprintf(&line, " nlink=%d", n.Nlink)
	}
	line.WriteByte('\n')
	return line.String()
}

// escape writes a path as vis(3) does with VIS_OCTAL and VIS_GLOB: mtree takes
// white space for the end of a name, '#' for a comment, and glob characters for
// a pattern.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`\#*?[`, c) >= 0 {
			fmt.Fprintf(&b, `\%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
