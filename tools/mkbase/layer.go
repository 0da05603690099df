package main

import (
	"bytes"
	"time"

	"github.com/kindling-vm/kindling/internal/fstree"
)

// node is an entry of the layer: a directory, a file with text, or a symbolic
// link to target.
type node struct {
	path         string
	mode         uint32
	text, target string
}

// nodes is the layer without busybox. All commands are in /bin; the other
// folders for programs lead there, so that every common PATH and every "#!"
// line works.
var nodes = []node{
	{path: "bin", mode: 0o755},
	{path: "dev", mode: 0o755},
	{path: "etc", mode: 0o755},
	{path: "etc/group", mode: 0o644, text: "root:x:0:\nnobody:x:65534:\n"},
	{path: "etc/passwd", mode: 0o644, text: "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/:/bin/false\n"},
	{path: "proc", mode: 0o555},
	{path: "root", mode: 0o700},
	{path: "run", mode: 0o755},
	{path: "sbin", mode: 0o777, target: "bin"},
	{path: "sys", mode: 0o555},
	{path: "tmp", mode: 0o1777},
	{path: "usr", mode: 0o755},
	{path: "usr/bin", mode: 0o777, target: "../bin"},
	{path: "usr/sbin", mode: 0o777, target: "../bin"},
	{path: "var", mode: 0o755},
	{path: "var/tmp", mode: 0o1777},
}

// modprobe gets no link. In an initrd the kernel would start it for each module
// that it asks for while it boots, long before init, and find nothing: six
// times with Debian's kernel, which takes 0.2 s under emulation.
const modprobe = "modprobe"

// addFiles adds the layer's files. All of them belong to root and are of 1970.
func addFiles(tree *fstree.Tree, busybox []byte, names []string) (err error) {
	meta := func(mode uint32) fstree.Meta { return fstree.Meta{Mode: mode, ModTime: time.Unix(0, 0)} }
	for _, n := range nodes {
		switch {
		case n.text != "":
			err = tree.PlaceFile(n.path, meta(n.mode), bytes.NewReader([]byte(n.text)), int64(len(n.text)))
		case n.target != "":
			err = tree.PlaceSymlink(n.path, n.target, meta(n.mode))
		default:
			err = tree.PlaceDir(n.path, meta(n.mode))
		}
		if err != nil {
			return err
		}
	}
	if err := tree.PlaceFile("bin/busybox", meta(0o755), bytes.NewReader(busybox), int64(len(busybox))); err != nil {
		return err
	}
	for _, name := range names {
		if name == "busybox" || name == modprobe {
			continue
		}
		if err := tree.PlaceSymlink("bin/"+name, "busybox", meta(0o777)); err != nil {
			return err
		}
	}
	return nil
}
