// Package debtest makes Debian packages for tests.
package debtest

import "fmt"

// Member is a member of a package.
type Member struct {
	Name string
	Data []byte
}

// Version is the first member of every package.
var Version = Member{"debian-binary", []byte("2.0\n")}

// Package is an ar archive of members, as deb(5) has it.
func Package(members ...Member) []byte {
	pkg := []byte("!<arch>\n")
	for _, member := range members {
		pkg = fmt.Appendf(pkg, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", member.Name, 0, 0, 0, 0o100644, len(member.Data))
		pkg = append(pkg, member.Data...)
		pkg = append(pkg, make([]byte, len(member.Data)%2)...)
	}
	return pkg
}
