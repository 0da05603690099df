package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRunRefuses(t *testing.T) {
	// with replaces the flags with a prefix by others.
	with := func(prefix string, flags ...string) func(*fixture) []string {
		return func(f *fixture) []string {
			args := f.args()
			if prefix != "" {
				args = without(args, prefix)
			}
			return append(args, flags...)
		}
	}
	// listing gives the set one more segment.
	listing := func(lines string, flags ...string) func(*fixture) []string {
		return func(f *fixture) []string {
			return append(f.args(), append(flags, "--segment=more="+f.write("more.mtree", "#mtree\n"+strings.NewReplacer(
				" type", " mode=0644 uid=0 gid=0 type", " sha", " size=1 sha").Replace(lines)))...)
		}
	}
	const digest = "sha256digest=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	image := "--image=r@sha256:" + strings.Repeat("2", 64)
	tests := []struct {
		name string
		args func(*fixture) []string
		want string
	}{
		{"argument", with("", "more"), `unexpected argument "more"`},
		{"no name", with("--name"), "flag --name is missing"},
		{"no arch", with("--arch"), "flag --arch is missing"},
		{"no lock", with("--lock"), "flag --lock is missing"},
		{"no SBOM", with("", "--sbom="), "flag --sbom is missing"},
		{"no statement", with("", "--provenance="), "flag --provenance is missing"},
		{"layer alone", with("", "--layer=sha256:1"), "flag --layer needs --image"},
		{"half a pair", with("", "--file=kernel="), `invalid value "kernel=" for flag -file: want KIND=FILE`},
		{"owner without path", with("", "--owner=base=busybox"),
			`invalid value "base=busybox" for flag -owner: want SEGMENT:PATH=COMPONENT, the path absolute and clean`},
		{"owner with relative path", with("", "--owner=base:bin=busybox"),
			`invalid value "base:bin=busybox" for flag -owner: want SEGMENT:PATH=COMPONENT, the path absolute and clean`},
		{"owner with unclean path", with("", "--owner=base:/bin/=busybox"),
			`invalid value "base:/bin/=busybox" for flag -owner: want SEGMENT:PATH=COMPONENT, the path absolute and clean`},
		{"no param file", with("", "@/none"), "read param file: open /none: no such file or directory"},

		{"unknown arch", with("--arch", "--arch=riscv64"), `arch is "riscv64", want x86_64 or aarch64`},
		{"image without digest", with("", "--image=r:latest", "--layer=x"),
			`read image "r:latest": digest "" is not sha256: and 64 lower-case hexadecimal digits`},
		{"image without name", with("", "--image=@sha256:"+strings.Repeat("2", 64), "--layer=x"),
			`image "@sha256:` + strings.Repeat("2", 64) + `" has no repository`},
		{"image without layer", with("", image), "image r has no layer"},
		{"layer without digest", with("", image, "--layer=sha512:1"),
			`read layers of image r: digest "sha512:1" is not sha256: and 64 lower-case hexadecimal digits`},
		{"image and base", with("", image, "--layer=sha256:"+strings.Repeat("3", 64)),
			"set has bases [artifact:busybox image], want no more than 1"},

		{"lock is not there", with("--lock", "--lock=/none"), "read lock: open /none: no such file or directory"},
		{"unknown artifact", with("", "--artifact=kernel=bsd"), "lock has no artifact bsd for x86_64"},
		{"artifact of other kind", with("", "--artifact=kernel=headers"), "artifact headers is of kind headers, not kernel"},
		{"artifact without digest", with("", "--artifact=kernel=ch"), "artifact ch for x86_64 has no digest in the lock"},
		{"artifact twice", with("", "--artifact=kernel=linux"), "artifact linux is given twice"},
		{"artifact that is called image", with("", "--artifact=headers=image"),
			"artifact image has a name that means something else to --owner"},
		{"no kernel", with("--artifact=kernel"), "set has kernels [], want 1"},
		{"unknown profile", with("--profile", "--profile=none"), "lock has no profile none"},
		{"other profile", with("--profile", "--profile=mixed"),
			"set has kernel artifact:linux and base [artifact:busybox], but profile mixed is of linux and rootfs"},
		{"no base", with("--artifact=base"), "set has kernel artifact:linux and base [], but profile debian is of linux and busybox"},
		{"artifact unused", func(f *fixture) []string {
			return without(f.args(), "--artifact=headers=headers-common", "--file=headers", "--segment=headers", "--owner=headers")
		}, "artifact headers is in no file of the set"},
		{"image unused", func(f *fixture) []string {
			return without(f.imageArgs(), "--file=base", "--segment=base", "--owner=base")
		},
			"image registry.example/library/base is in no file of the set"},

		{"file is not there", with("--file=kernel=", "--file=kernel=/none"), "read kernel: open /none: no such file or directory"},
		{"no initrd", with("--file=initrd"), "no file is of kind initrd"},
		{"no kernel's file", with("--file=kernel="), "no file is of kind kernel"},
		{"two files of a kind", with("", "--file=kernel=/dev/null"), "files vmlinux and null are both of kind kernel"},
		{"unknown kind", with("", "--file=sbom=/dev/null"), "file null is of kind sbom, which a set is not made of"},
		{"file of nothing", with("--artifact=headers"), "file headers.tar is of kind headers, and there is no artifact of kind headers"},
		{"two files of a name", with("--file=headers", "--file=headers=/none/vmlinux"), "two files have the name vmlinux"},

		{"program is not there", with("--binary=/init", "--binary=/init=/none"),
			"read program /none for /init: could not read Go build info: open /none: no such file or directory"},
		{"program twice", func(f *fixture) []string { return append(f.args(), "--binary=usr/bin/agent="+f.path("agent")) },
			"program /usr/bin/agent is given twice"},
		{"information twice", with("", "--buildinfo=init=/none"), "build information of /init is given twice"},
		{"information without program", with("", "--buildinfo=/x=/none"), "there is build information but no program for /x"},
		{"information is not there", with("--buildinfo", "--buildinfo=/init=/none"), "for /init: open /none: no such file or directory"},
		{"no sums", with("--go-sum", "--go-sum=/none"), "read go.sum: open /none: no such file or directory"},
		{"module with two sums", func(f *fixture) []string {
			f.write("init.info", strings.Replace(initInfo, "v0.49.0\t", "v0.49.0\t"+sumB, 1))
			return without(f.args(), "--go-sum")
		}, "module golang.org/x/sys@v0.49.0 has sums " + sumB + " and " + sumA},

		{"segment is not there", with("", "--segment=x=/none"), "read segment x: open /none: no such file or directory"},
		{"segment twice", with("", "--segment=base=/none"), "segment base is given twice"},
		{"segment is no listing", func(f *fixture) []string { return append(f.args(), "--segment=x="+f.path("go.sum")) },
			"want #mtree"},
		{"path that is not clean", listing("./a/../b type=dir\n"),
			`find owner of /a/../b in segment more: "a/../b" is no clean path, or its target "" is not UTF-8`},
		{"path that is not UTF-8", listing("./\\377 type=dir\n"),
			"find owner of /\xff in segment more: \"\\xff\" is no clean path, or its target \"\" is not UTF-8"},
		{"target that is not UTF-8", listing("./a type=link link=\\377\n"),
			`find owner of /a in segment more: "a" is no clean path, or its target "\xff" is not UTF-8`},
		{"owner of no segment", with("", "--owner=x:/=busybox"), "owner busybox is of segment x, which is not given"},
		{"unknown owner", with("", "--owner=base:/x=rootfs"), "owner rootfs of segment base is no component of the set"},
		{"image is no owner", with("", "--owner=base:/x=image"), "owner image of segment base is no component of the set"},
		{"entry of no component", listing("./x type=link link=y\n"), "find owner of /x in segment more: it comes from no component"},
		{"path begins as the owner's", listing("./xy type=link link=y\n", "--owner=more:/x=linux"),
			"find owner of /xy in segment more: it comes from no component"},
		{"entry of two components", listing("./x/y type=link link=y\n", "--owner=more:/x=linux", "--owner=more:/=busybox"),
			"find owner of /x/y in segment more: it comes from artifact:busybox and from artifact:linux"},
		{"program of a component", with("", "--owner=programs:/usr=busybox"),
			"find owner of /usr/bin/agent in segment programs: it comes from artifact:busybox and from program:/usr/bin/agent"},
		{"file in two segments", listing("./etc/modules type=file "+digest+"\n", "--owner=more:/=linux"),
			"find owner of /etc/modules in segment more: it is in segment modules too"},
		{"folder is a link too", listing("./usr type=link link=y\n", "--owner=more:/=linux"),
			"find owner of /usr in segment more: it is in segment headers too"},
		{"file without digest", listing("./x type=file\n", "--owner=more:/=linux"),
			"find owner of /x in segment more: listing has no SHA-256 of it"},
		{"program in no segment", with("", "--binary=/bin/more=AGENT"), "program /bin/more is in no segment"},
		{"program is a link", listing("./more type=link link=x\n", "--binary=/more=AGENT"),
			`find owner of /more in segment more: it is not the program, but a link with SHA-256 ""`},
		{"program has other bytes", listing("./more type=file "+digest+"\n", "--binary=/more=AGENT"),
			`find owner of /more in segment more: it is not the program, but a file with SHA-256 "` + strings.Repeat("a", 64) + `"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			args := test.args(f)
			for i, arg := range args {
				args[i] = strings.Replace(arg, "=AGENT", "="+f.path("agent"), 1)
			}
			err := f.run(args)
			if err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got error %v\nwant %s", err, test.want)
			}
			for _, name := range []string{"sbom.json", "provenance.json"} {
				if _, err := os.Stat(f.path(name)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s after an error: %v", name, err)
				}
			}
		})
	}
}

func TestOutputRefused(t *testing.T) {
	f := newFixture(t)
	for _, flag := range []string{"--sbom=", "--provenance="} {
		if err := f.run(append(f.args(), flag+f.path("no/out"))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got error %v", flag, err)
		}
	}
	if left, err := filepath.Glob(f.path(".*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestMode(t *testing.T) {
	f := newFixture(t)
	f.make(f.args())
	for _, name := range []string{"sbom.json", "provenance.json"} {
		info, err := os.Stat(f.path(name))
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("%s: mode %v, error %v", name, info.Mode(), err)
		}
		if data := f.read(name); !bytes.HasSuffix(data, []byte("}\n")) || slices.Contains(data, '\r') {
			t.Errorf("%s does not end in a line of its own", name)
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout bytes.Buffer
	if err := run([]string{"--help"}, &stdout, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got error %v", err)
	}
	if !strings.Contains(stdout.String(), "-owner SEGMENT:PATH=COMPONENT") {
		t.Errorf("stdout has %q", stdout.String())
	}
}
