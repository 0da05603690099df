package fstree

import (
	"strings"
	"testing"
)

func TestLinks(t *testing.T) { runCases(t, linkCases) }

// linkCases are about symbolic links, which lead nowhere but into the tree.
var linkCases = []layerCase{
	{name: "merged /usr, upper writes bin/x", layers: layers{{dir("usr/bin"), link("bin", "usr/bin")}, {file("bin/x", "")}},
		want: []string{"bin link 0777 -> usr/bin", "usr dir 0755", "usr/bin dir 0755", `usr/bin/x file 0644 ""`}},
	{name: "merged /usr in one layer", layers: layers{{link("bin", "/usr/bin"), file("bin/x", "")}},
		want: []string{"bin link 0777 -> /usr/bin", "usr dir 0755", "usr/bin dir 0755", `usr/bin/x file 0644 ""`}},
	{name: "link s to /etc, then file s/pwn", layers: layers{{link("s", "/etc"), file("s/pwn", "")}},
		want: []string{"etc dir 0755", `etc/pwn file 0644 ""`, "s link 0777 -> /etc"}},
	{name: "link s to /etc, then file s/pwn in the layer above", layers: layers{{link("s", "/etc")}, {file("s/pwn", "")}},
		want: []string{"etc dir 0755", `etc/pwn file 0644 ""`, "s link 0777 -> /etc"}},
	{name: "relative link that escapes keeps its text", layers: layers{{link("a/s", "../../../../etc"), file("z", "")}},
		want: []string{"a dir 0755", "a/s link 0777 -> ../../../../etc", `z file 0644 ""`}},
	{name: "file behind a link that escapes stays inside",
		layers: layers{{link("a/s", "../../../../etc")}, {file("a/s/pwn", "")}},
		want:   []string{"a dir 0755", "a/s link 0777 -> ../../../../etc", "etc dir 0755", `etc/pwn file 0644 ""`}},
	{name: "file behind a chain of links",
		layers: layers{{link("a", "b"), link("b", "/c/../c"), link("c", "d"), file("a/x", "")}},
		want:   []string{"a link 0777 -> b", "b link 0777 -> /c/../c", "c link 0777 -> d", "d dir 0755", `d/x file 0644 ""`}},
	{name: "link loop", layers: layers{{link("a", "b"), link("b", "a")}}, want: []string{"a link 0777 -> b", "b link 0777 -> a"}},
	{name: "file behind a link loop", layers: layers{{link("a", "b"), link("b", "a"), file("a/x", "")}},
		err: `apply "a/x": resolve parent: too many levels of symbolic links`},
	{name: "file behind a link to itself", layers: layers{{link("a", "a"), file("a/x", "")}},
		err: `apply "a/x": resolve parent: too many levels of symbolic links`},
	{name: "file behind a link to a file", layers: layers{{file("f", ""), link("s", "f"), file("s/x/y", "")}},
		err: `apply "s/x/y": resolve parent: not a directory`},
	{name: "link target over PATH_MAX", layers: layers{{link("s", strings.Repeat("t", 4096))}},
		err: `apply "s": link target bytes: 4096 is more than 4095: limit exceeded`},
	{name: "name over NAME_MAX in a target", layers: layers{{link("s", strings.Repeat("t", 256)), file("s/x", "")}},
		err: `apply "s/x": resolve parent: name bytes: 256 is more than 255: limit exceeded`},
	{name: "link without target", layers: layers{{link("s", "")}}, err: `apply "s": symbolic link without a target`},
}

func TestHardLinks(t *testing.T) { runCases(t, hardLinkCases) }

// hardLinkCases are about hard links, whose targets count from the root.
var hardLinkCases = []layerCase{
	{name: "hard link chain",
		layers: layers{{file("a", "1").mode(0o4755), hard("b", "a"), hard("c", "/b")}, {hard("d", "./a"), file("a", "2")}},
		want:   []string{`a file 0644 "2"`, `b file 04755 "1" nlink 3`, `c file 04755 "1" = b`, `d file 04755 "1" = b`}},
	{name: "upper hard link to a lower file", layers: layers{{file("z", "1")}, {hard("a", "z")}},
		want: []string{`a file 0644 "1" nlink 2`, `z file 0644 "1" = a`}},
	{name: "hard link replaces a directory", layers: layers{someFiles, {hard("d", "f")}},
		want: []string{`d file 0644 "1" nlink 2`, `f file 0644 "1" = d`}},
	{name: "hard link to what it replaces", layers: layers{someFiles, {hard("d", "d/a")}},
		want: []string{`d file 0644 "1"`, `f file 0644 "1"`}},
	{name: "hard link to a link is not followed", layers: layers{{file("a", ""), link("s", "a"), hard("h", "s")}},
		want: []string{`a file 0644 ""`, "h link 0777 -> a nlink 2", "s link 0777 -> a = h"}},
	{name: "hard link through a linked directory", layers: layers{someFiles[2:4], {link("l", "d/sub"), hard("h", "l/b")}},
		want: []string{"d dir 0755", "d/sub dir 0755", `d/sub/b file 0644 "1" nlink 2`, `h file 0644 "1" = d/sub/b`, "l link 0777 -> d/sub"}},
	{name: "hard link through an absolute link stays inside", layers: layers{{link("s", "/etc"), hard("h", "s/shadow")}},
		err: `apply "h": resolve link target "s/shadow": file does not exist`},
	{name: "hard link a/b/c to ../x escapes", layers: layers{{file("x", ""), hard("a/b/c", "../x")}},
		err: `apply "a/b/c": resolve link target "../x": name contains ".."`},
	{name: "relative hard link that escapes", layers: layers{{file("x", ""), hard("a", "b/../../x")}},
		err: `apply "a": resolve link target "b/../../x": name contains ".."`},
	{name: "hard link to /etc/shadow", layers: layers{{hard("h", "/etc/shadow")}},
		err: `apply "h": resolve link target "/etc/shadow": file does not exist`},
	{name: "hard link to /etc/shadow of the image", layers: layers{{file("etc/shadow", "1")}, {hard("h", "/etc/shadow")}},
		want: []string{"etc dir 0755", `etc/shadow file 0644 "1" nlink 2`, `h file 0644 "1" = etc/shadow`}},
	{name: "hard link to nothing", layers: layers{{hard("h", "no")}},
		err: `apply "h": resolve link target "no": file does not exist`},
	{name: "hard link to what comes later", layers: layers{{hard("h", "f"), file("f", "")}},
		err: `apply "h": resolve link target "f": file does not exist`},
	{name: "hard link cycle", layers: layers{{hard("a", "b"), hard("b", "a")}},
		err: `apply "a": resolve link target "b": file does not exist`},
	{name: "hard link to itself", layers: layers{{file("a", ""), hard("a", "a")}},
		err: `apply "a": resolve link target "a": hard link to itself`},
	{name: "hard link to a directory", layers: layers{{dir("d"), hard("h", "d")}},
		err: `apply "h": resolve link target "d": is a directory`},
	{name: "hard link to the root", layers: layers{{hard("h", "/")}}, err: `apply "h": resolve link target "/": is a directory`},
	{name: "hard link without target", layers: layers{{hard("h", "")}}, err: `apply "h": resolve link target "": is a directory`},
	{name: "hard link to a whiteout", layers: layers{{file(".wh.x", ""), hard("h", ".wh.x")}},
		err: `apply "h": resolve link target ".wh.x": file does not exist`},
	{name: "hard link, then whiteout of its target", layers: layers{someFiles[4:], {hard("h", "f"), file(".wh.f", "")}},
		want: []string{`h file 0644 "1"`}},
	{name: "whiteout, then hard link to what is gone", layers: layers{someFiles[4:], {file(".wh.f", ""), hard("h", "f")}},
		err: `apply "h": resolve link target "f": file does not exist`},
}
