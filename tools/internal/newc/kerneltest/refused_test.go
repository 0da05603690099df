//go:build vm

package kerneltest

import (
	"math"
	"strings"

	"github.com/kindling-vm/kindling/tools/internal/newc"
)

type kernelTest struct {
	name    string
	entries []entry
	want    map[string]file // what the kernel makes of them, as of 6.1
}

// refused is what newc.Writer refuses, and why: the kernel makes nothing of it
// without a word, or something else.
var refused = []kernelTest{
	{"empty name of a file", []entry{regular("", "x")}, nil},
	{"empty name of a directory", []entry{directory("").mode(0o750)}, made(".", directory(".").mode(0o750))},
	{"name with NUL", []entry{regular("cut\x00off", "x")}, made("cut", regular("cut", "x"))},
	{"absolute name", []entry{regular("/slash before", "x")}, made("slash before", regular("slash before", "x"))},
	{"slash behind", []entry{regular("slash behind/", "x")}, nil},
	{"name with a dot", []entry{regular("./dot", "x")}, made("dot", regular("dot", "x"))},
	{"name that leads up", []entry{regular("d/../../up", "x")}, made("up", regular("up", "x"))},
	{"component of 256 bytes", []entry{regular("d/"+longest+"c", "x")}, nil},
	{"name of 4096 bytes", []entry{regular(deep+"/y/"+strings.Repeat("z", 254), "x")}, nil},
	{"name of the trailer", []entry{regular("TRAILER!!!", "x")}, nil},
	{"trailer between hard links", []entry{
		hard("before trailer", 1, ""), regular("TRAILER!!!", ""), hard("behind trailer", 1, "x"),
	}, map[string]file{"before trailer": asWritten(regular("", "")), "behind trailer": asWritten(regular("", "x"))}},
	{"root as a file", []entry{regular(".", "x")}, nil},
	{"mode without a type", []entry{regular("no type", "x").as(0)}, nil},
	{"mode of 17 bits", []entry{regular("17 bits", "x").as(1<<16 | newc.TypeRegular)}, made("17 bits", regular("", "x").mode(0o644))},
	{"directory with data", []entry{regular("with data", "x").as(newc.TypeDir)}, nil},
	// symlink(2) would make no such link.
	{"empty target", []entry{symlink("to nothing", "")}, made("to nothing", symlink("", ""))},
	{"target of 4096 bytes", []entry{symlink("too far", longTarget+"t")}, nil},
	{"target of 4097 bytes", []entry{symlink("farther", longTarget+"tt")}, nil},
	{"target with NUL", []entry{symlink("to NUL", "cut\x00off")}, made("to NUL", symlink("", "cut"))},
	// chown(2) leaves what is -1. A set-user-ID program of nobody becomes root's.
	{"user -1", []entry{regular("no user", "x").owner(math.MaxUint32, 1).mode(0o4755)},
		made("no user", regular("", "x").owner(0, 1).mode(0o4755))},
	{"group -1", []entry{regular("no group", "x").owner(1, math.MaxUint32).mode(0o2755)},
		made("no group", regular("", "x").owner(1, 0).mode(0o2755))},
}

// skipped is what newc.Writer cannot know, since it remembers no names. The
// reader knows.
var skipped = []kernelTest{
	{"no parent", []entry{regular("missing/file", "x")}, nil},
	{"parent behind its child", []entry{regular("late/file", "x"), directory("late")}, made("late", directory("late"))},
	{"below a file", []entry{regular("file", "x"), regular("file/below", "x")}, made("file", regular("", "x"))},
	{"below a link to nothing", []entry{symlink("dangling", "nothing"), regular("dangling/below", "x")},
		made("dangling", symlink("", "nothing"))},
	{"file over a directory", []entry{directory("full"), regular("full/file", "x"), regular("full", "y")},
		map[string]file{"full": asWritten(directory("")), "full/file": asWritten(regular("", "x"))}},
	// Not only skipped: the name was made free for the link before.
	{"hard link to itself", []entry{hard("self", 2, "x"), hard("self", 2, "y")}, nil},
	{"hard link to a directory", []entry{hard("removed", 3, "x"), directory("removed"), hard("to removed", 3, "y")},
		made("removed", directory(""))},
	// Worse than skipped: a link to the symbolic link, and the data goes through it.
	{"hard link to a symbolic link", []entry{
		hard("replaced", 4, "x"), symlink("replaced", "victim"), hard("to replaced", 4, "y"),
	}, map[string]file{
		"replaced":    {Mode: "120777", Content: "victim", Links: `["replaced" "to replaced"]`},
		"to replaced": {Mode: "120777", Content: "victim", Links: `["replaced" "to replaced"]`},
		"victim":      asWritten(regular("", "y")),
	}},
}

// made is one file that an entry of any name describes.
func made(name string, e entry) map[string]file { return map[string]file{name: asWritten(e)} }

// as changes the type.
func (e entry) as(kind uint32) entry {
	e.Mode = kind | e.Mode&^newc.TypeMask
	return e
}
