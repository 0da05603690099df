package fstree

import (
	"bytes"
	"strings"
	"testing"
)

// long is a path of 500 bytes.
var long = strings.Repeat("long/", 100)

func TestNames(t *testing.T) { runCases(t, nameCases) }

// TestNamesInsecurePath is about a mode of archive/tar in which it has an opinion
// on names: the rules here do not depend on it.
func TestNamesInsecurePath(t *testing.T) {
	t.Setenv("GODEBUG", "tarinsecurepath=0")
	if err := newTree(t).AddTar(bytes.NewReader(tarOf(t, file("/abs", "")))); err != nil {
		t.Error(err)
	}
	err := newTree(t).AddTar(bytes.NewReader(tarOf(t, file("a", ""), file("../x", ""), file("b", ""))))
	if want := `apply "../x": name contains ".."`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

// nameCases are about names in a layer: what they may be, and where they lead.
var nameCases = []layerCase{
	{name: "empty layer", layers: layers{{}}},
	{name: "root entry ./", layers: layers{{dir("."), dir("./usr"), file("./usr/a", "")}},
		want: []string{"usr dir 0755", `usr/a file 0644 ""`}},
	{name: "root is a file", layers: layers{{file(".", "")}}, err: `apply ".": root is not a directory`},
	{name: "absolute name counts from the root", layers: layers{{file("/abs", ""), file("./rel", ""), file("x//y/./z", "")}},
		want: []string{`abs file 0644 ""`, `rel file 0644 ""`, "x dir 0755", "x/y dir 0755", `x/y/z file 0644 ""`}},
	{name: "name ../x", layers: layers{{file("../x", "")}}, err: `apply "../x": name contains ".."`},
	{name: "name with .. that stays inside", layers: layers{{file("a/../b", "")}}, err: `apply "a/../b": name contains ".."`},
	{name: "name /../x", layers: layers{{file("/../x", "")}}, err: `apply "/../x": name contains ".."`},
	{name: "newline, backslash, not UTF-8, space, three dots",
		layers: layers{{file("new\nline", ""), file(`back\slash`, ""), file("\xff\xfe", ""), file(" ", ""), file("...", ""), file(`..\x`, "")}},
		want: []string{`  file 0644 ""`, `... file 0644 ""`, `..\x file 0644 ""`, `back\slash file 0644 ""`, "new\nline file 0644 \"\"",
			"\xff\xfe file 0644 \"\""}},
	{name: "path of PATH_MAX", layers: layers{{file(strings.Repeat("long/", 818)+"xxxxxx", "")}},
		err: `: path bytes: 4096 is more than 4095: limit exceeded`},
	{name: "path far over PATH_MAX", layers: layers{{file(strings.Repeat("long/", 820)+"x", "")}},
		err: `: path bytes: 4101 is more than 4095: limit exceeded`},
	{name: "name over NAME_MAX", layers: layers{{file(strings.Repeat("n", 256), "")}},
		err: `": name bytes: 256 is more than 255: limit exceeded`},
	{name: "10,000 levels deep", layers: layers{{file(strings.Repeat("a/", 10000)+"a", "")}},
		err: `: path bytes: 20001 is more than 4095: limit exceeded`},
	{name: "path over PATH_MAX behind links",
		layers: layers{{dir(strings.Repeat(long, 8)), link("s", strings.Repeat(long, 8)[:3999]), dir("s/" + long)}},
		err:    `: resolve parent: path bytes: 4099 is more than 4095: limit exceeded`},
	{name: "parent missing", layers: layers{{file("a/b/c", "")}},
		want: []string{"a dir 0755", "a/b dir 0755", `a/b/c file 0644 ""`}},
	{name: "parent behind its files", layers: layers{{file("a/b", ""), dir("a").mode(0o1777)}, {dir("a").mode(0o700)}},
		want: []string{"a dir 0700", `a/b file 0644 ""`}},
	{name: "below a file", layers: layers{{file("f", "")}, {file("f/x", "")}},
		err: `apply "f/x": resolve parent: not a directory`},
}

// someFiles is a layer for others to change.
var someFiles = []entry{dir("d"), file("d/a", "1"), dir("d/sub"), file("d/sub/b", "1"), file("f", "1")}

func TestReplace(t *testing.T) { runCases(t, replaceCases) }

// replaceCases are about names that are there already.
var replaceCases = []layerCase{
	{name: "same path twice in one layer, the last wins",
		layers: layers{{file("a", "1"), file("a", "2").mode(0o600), link("b", "x"), link("b", "y"), file("./c", "1"), file("/c", "2")}},
		want:   []string{`a file 0600 "2"`, "b link 0777 -> y", `c file 0644 "2"`}},
	{name: "file becomes directory in one layer", layers: layers{{file("a", "1"), dir("a"), file("a/b", "")}},
		want: []string{"a dir 0755", `a/b file 0644 ""`}},
	{name: "directory in use becomes a file in one layer", layers: layers{{file("d/x", ""), file("d", "")}},
		err: `apply "d": directory of this layer with entries in it would be replaced`},
	{name: "directory in use becomes a link in one layer", layers: layers{{file("bin/x", ""), link("bin", "usr/bin")}},
		err: `apply "bin": directory of this layer with entries in it would be replaced`},
	{name: "duplicate layer", layers: layers{someFiles, someFiles},
		want: []string{"d dir 0755", `d/a file 0644 "1"`, "d/sub dir 0755", `d/sub/b file 0644 "1"`, `f file 0644 "1"`}},
	{name: "file over directory", layers: layers{someFiles, {file("d", "2")}},
		want: []string{`d file 0644 "2"`, `f file 0644 "1"`}},
	{name: "directory over file", layers: layers{someFiles, {dir("f"), file("f/x", "2")}, {file("d", "")}},
		want: []string{`d file 0644 ""`, "f dir 0755", `f/x file 0644 "2"`}},
	{name: "directory over directory merges", layers: layers{someFiles, {dir("d").mode(0o700), file("d/new", "2")}},
		want: []string{"d dir 0700", `d/a file 0644 "1"`, `d/new file 0644 "2"`, "d/sub dir 0755", `d/sub/b file 0644 "1"`, `f file 0644 "1"`}},
	{name: "directory over link replaces it",
		layers: layers{{dir("usr/bin"), link("bin", "usr/bin")}, {dir("bin"), file("bin/x", "")}},
		want:   []string{"bin dir 0755", `bin/x file 0644 ""`, "usr dir 0755", "usr/bin dir 0755"}},
	{name: "file over link replaces it", layers: layers{someFiles[4:], {link("s", "f")}, {file("s", "2")}},
		want: []string{`f file 0644 "1"`, `s file 0644 "2"`}},
	{name: "link over directory", layers: layers{someFiles, {link("d", "f")}},
		want: []string{"d link 0777 -> f", `f file 0644 "1"`}},
}
