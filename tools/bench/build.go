package main

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"slices"
)

// uroot is the peer whose packer takes a folder, too.
const (
	uroot        = "github.com/u-root/u-root"
	urootVersion = "v0.16.0"
)

// buildSuite assembles initrds of the content of the one that is shipped: as it
// is, and in as many copies as give 40, 160 and 640 MB.
func buildSuite(ctx context.Context, b *bench) ([]figure, error) {
	mkinitrd, err := b.program(ctx, "tools/mkinitrd")
	if err != nil {
		return nil, err
	}
	s := &assembly{bench: b, mkinitrd: mkinitrd}
	if b.peers {
		if s.uroot, err = b.peer(ctx, uroot, urootVersion); err != nil {
			return nil, err
		}
	}
	if b.initrd == "" {
		if b.initrd, err = runfile("system/initrd.cpio"); err != nil {
			return nil, err
		}
	}
	var figures []figure
	for _, scale := range scales(b.short) {
		f, err := s.plain(ctx, scale)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	one := b.path("one")
	if _, err := unpack(b.initrd, one, 1<<40); err != nil {
		return nil, err
	}
	rest, err := files(one)
	if err != nil {
		return nil, err
	}
	rest = slices.DeleteFunc(rest, func(name string) bool { return name == "init" })
	compressed, err := s.compressed(one, rest)
	if err != nil {
		return nil, err
	}
	again, err := s.again(ctx, one, rest)
	if err != nil {
		return nil, err
	}
	figures = append(figures, compressed, again)
	if b.peers {
		peer, err := b.initramfsTools(ctx, one, moduleNames(rest))
		if err != nil {
			return nil, err
		}
		distribution, err := s.distribution(one, rest, again.contenders[:2], peer)
		if err != nil {
			return nil, err
		}
		figures = append(figures, distribution)
	}
	return figures, nil
}

// scales are of how many times the input growth is measured.
func scales(short bool) []int {
	if short {
		return []int{1, 4}
	}
	return []int{1, 4, 16}
}

type assembly struct {
	*bench
	mkinitrd, uroot string
}

func (s *assembly) segment(output string, args ...string) contender {
	return contender{
		output:   output,
		commands: [][]string{append([]string{s.mkinitrd, "segment", "--arch=x86_64", "--out=" + output, "--listing=" + output + ".mtree"}, args...)},
	}
}

func (c contender) named(name string) contender {
	c.name = name
	return c
}

func (s *assembly) urootOf(tree, output string) contender {
	return contender{name: "u-root", output: output, commands: [][]string{{
		s.uroot, "-nocmd", "-skip-ldd", "-base=/dev/null", "-files", tree + ":.", "-initcmd=", "-defaultsh=", "-o", output}}}
}

// gnuCpio is cpio, with its output through another program.
func gnuCpio(name, tree, output, filter string) contender {
	return contender{name: name, output: output, commands: [][]string{shell(`cd "$1"; find . -mindepth 1 -print0 | LC_ALL=C sort -z | `+
		`cpio -o -0 -H newc --quiet --reproducible -R 0:0 | `+filter+` >"$2"`, tree, output)}}
}

// plain is the figure of what is not compressed.
func (s *assembly) plain(ctx context.Context, scale int) (figure, error) {
	name := fmt.Sprintf("assemble %d MB, not compressed", 40*scale)
	tree := s.path(fmt.Sprintf("tree%d", scale))
	if err := unpackCopies(s.initrd, tree, int64(scale)*40e6); err != nil {
		return figure{}, err
	}
	params := tree + ".params"
	names, err := files(tree)
	if err != nil {
		return figure{}, err
	}
	if err := writeParams(params, tree, names); err != nil {
		return figure{}, err
	}
	for _, layer := range []string{tree + ".tar", tree + ".tar.gz"} {
		if err := writeLayer(layer, func(w *tar.Writer) error { return w.AddFS(os.DirFS(tree)) }); err != nil {
			return figure{}, err
		}
	}
	bytes := tree + ".bytes.cpio" // for who only moves them
	if _, err := s.execute(ctx, nil, gnuCpio("", tree, bytes, "cat").commands[0]); err != nil {
		return figure{}, err
	}
	f := figure{name: name, series: "assemble", scale: scale, reference: "cpio", contenders: []contender{
		s.segment(s.path("files.cpio"), "@"+params).named("kindling, files"),
		s.segment(s.path("layer.cpio"), "--layer="+tree+".tar").named("kindling, layer"),
		s.segment(s.path("packed.cpio"), "--layer="+tree+".tar.gz").named("kindling, gzip layer"),
		gnuCpio("cpio", tree, s.path("cpio.cpio"), "cat"),
		{name: "read and write", output: s.path("same.cpio"),
			commands: [][]string{{"dd", "bs=256K", "status=none", "if=" + bytes, "of=" + s.path("same.cpio")}}},
	}}
	if s.uroot != "" {
		f.reference = "u-root"
		f.contenders = append(f.contenders, s.urootOf(tree, s.path("uroot.cpio")))
	}
	switch {
	case scale == 1 && s.uroot != "":
		f.levels = []level{
			{contender: "kindling, files", against: "u-root", quantity: duration, atMost: 0.6},
			{contender: "kindling, layer", against: "u-root", quantity: duration, atMost: 1.2},
			{contender: "kindling, gzip layer", against: "u-root", quantity: duration, atMost: 1.2},
		}
	case scale == 16:
		f.levels = []level{
			{contender: "kindling, files", against: "read and write", quantity: duration, atMost: 2},
			{contender: "kindling, files", quantity: peak, atMost: 64},
			{contender: "kindling, gzip layer", quantity: peak, atMost: 64},
		}
	}
	return f, nil
}

// compressed is the figure of the shipped initrd's content, compressed: init and
// the rest.
func (s *assembly) compressed(tree string, rest []string) (figure, error) {
	params := tree + ".params"
	if err := writeParams(params, tree, rest, "--compression=zstd", "--binary=/init="+tree+"/init"); err != nil {
		return figure{}, err
	}
	return figure{
		name: "assemble the shipped content, compressed", reference: "cpio, zstd -19",
		contenders: []contender{
			s.segment(s.path("zstd.cpio"), "@"+params).named("kindling, zstd"),
			gnuCpio("cpio, zstd -19", tree, s.path("zstd19"), "zstd -q -19 -T1"),
			gnuCpio("cpio, zstd -3", tree, s.path("zstd3"), "zstd -q -3 -T1"),
			gnuCpio("cpio, gzip -9", tree, s.path("gzip9"), "gzip -9n"),
		},
		levels: []level{
			{contender: "kindling, zstd", against: "cpio, zstd -19", quantity: size, atMost: 0.95},
			{contender: "kindling, zstd", against: "cpio, zstd -19", quantity: duration, atMost: 0.25},
		},
	}, nil
}

// again is the figure of what is done when only init changed: its segment is
// made and the segments are joined.
func (s *assembly) again(ctx context.Context, tree string, rest []string) (figure, error) {
	base, params := s.path("base.cpio"), s.path("base.params")
	if err := writeParams(params, tree, rest, "--compression=zstd"); err != nil {
		return figure{}, err
	}
	if _, err := s.execute(ctx, nil, s.segment(base, "@"+params).commands[0]); err != nil {
		return figure{}, err
	}
	initSegment, joined := s.path("init.cpio"), s.path("joined.cpio")
	join := []string{s.mkinitrd, "join", "--segment=" + base + ".mtree=" + base,
		"--segment=" + initSegment + ".mtree=" + initSegment, "--out=" + joined, "--listing=" + joined + ".mtree"}
	// As a build does that edits programs: the base at the best level, once.
	changed := s.segment(initSegment, "--lower="+base+".mtree", "--binary=/init="+tree+"/init", "--compression=zstd-fast").named("kindling, init changed")
	changed.output, changed.commands = joined, append(changed.commands, join)
	f := figure{name: "assemble the shipped content again", reference: "cpio, all of it", contenders: []contender{
		changed,
		{name: "kindling, only join", output: joined, commands: [][]string{join}},
		gnuCpio("cpio, all of it", tree, s.path("all.cpio"), "cat"),
	}}
	if s.uroot != "" {
		f.reference = "u-root"
		f.contenders = append(f.contenders, s.urootOf(tree, s.path("uroot.cpio")))
		f.levels = []level{
			{contender: "kindling, init changed", against: "u-root", quantity: duration, atMost: 1.5},
			{contender: "kindling, only join", against: "u-root", quantity: duration, atMost: 0.5},
		}
	}
	return f, nil
}
