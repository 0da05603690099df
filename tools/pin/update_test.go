package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/pin/internal/fetch/fetchtest"
)

// details are the lines that are told of a file.
func details(what, content, origin string) string {
	return fmt.Sprintf("  %s\n  SHA-256 %s (%d bytes)\n  %s\n", what, sumOf(content), len(content), origin)
}

const isKernel = "kernel " + kerneltest.Release + ", elf"

func TestUpdate(t *testing.T) {
	const api = "api.github.com/repos/kernel/linux/releases/tags/v6"
	tests := []struct {
		name   string
		change func(w *workspace, linux *lock.Artifact) // of what is before
		want   string
	}{
		{"not pinned yet", nil, "linux x86_64: pinned\n" + details(isKernel, kernel, "digest from the API")},
		{"same", func(_ *workspace, linux *lock.Artifact) { linux.SHA256, linux.Size = sumOf(kernel), int64(len(kernel)) },
			"linux x86_64: unchanged\n" + details(isKernel, kernel, "digest from the API")},
		{"same, size not known", func(_ *workspace, linux *lock.Artifact) { linux.SHA256 = sumOf(kernel) },
			"linux x86_64: its size is known now\n" + details(isKernel, kernel, "digest from the API")},
		{"other", func(_ *workspace, linux *lock.Artifact) { linux.SHA256, linux.Size = sumOf("old"), 3 },
			"linux x86_64: changed, was SHA-256 " + sumOf("old") + " (3 bytes)\n" + details(isKernel, kernel, "digest from the API")},
		{"API has no digest", func(w *workspace, _ *lock.Artifact) { w.web[api] = `{"assets": [{"name": "vmlinux", "digest": null}]}` },
			"linux x86_64: pinned\n" + details(isKernel, kernel, "digest of what was downloaded, trust on first use: the API has none of this asset")},
		{"API does not answer", func(w *workspace, _ *lock.Artifact) { delete(w.web, api) },
			"linux x86_64: pinned\n" + details(isKernel, kernel, "digest of what was downloaded, trust on first use: "+
				"the API could not be asked: fetch https://"+api+": server says 404 Not Found")},
		{"not from GitHub", func(w *workspace, linux *lock.Artifact) {
			linux.URLs = []string{"https://one.example/vmlinux"}
			w.web["one.example/vmlinux"] = kernel
		}, "linux x86_64: pinned\n" + details(isKernel, kernel, "digest of what was downloaded, trust on first use")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorkspace(t)
			want := w.parse(t)
			if test.change != nil {
				test.change(w, want.Lookup("linux", "x86_64"))
				data, err := want.MarshalCanonical()
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(w.lock, data, 0o640); err != nil {
					t.Fatal(err)
				}
			}
			before := stat(t, w.lock)
			unchanged := want.Lookup("linux", "x86_64").Size == int64(len(kernel))
			if diff := cmp.Diff(result{0, test.want, ""}, w.pin("update", "linux", "--arch", "x86_64")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			linux := want.Lookup("linux", "x86_64")
			linux.SHA256, linux.Size = sumOf(kernel), int64(len(kernel))
			form, err := want.MarshalCanonical()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(form), w.read(t)); diff != "" {
				t.Errorf("lock (-want +got):\n%s", diff)
			}
			if after := stat(t, w.lock); after.Mode() != before.Mode() || os.SameFile(before, after) != unchanged {
				t.Errorf("lock has mode %v, want %v, and is the same file: %v, want %v", after.Mode(), before.Mode(), os.SameFile(before, after), unchanged)
			}
			w.requireClean(t)
		})
	}
}

// TestUpdateKeepsForm checks that a lock that says the same is not even
// rewritten in its canonical form.
func TestUpdateKeepsForm(t *testing.T) {
	w := newWorkspace(t)
	w.pin("update", "linux", "--arch", "x86_64")
	odd := w.read(t) + "\n\n"
	if err := os.WriteFile(w.lock, []byte(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.pin("update", "linux", "--arch", "x86_64"); got.Code != 0 || w.read(t) != odd {
		t.Errorf("got %+v, lock %s", got, w.read(t))
	}
}

func TestUpdateFromElsewhere(t *testing.T) {
	w := newWorkspace(t)
	s := fetchtest.NewServer(t, fetchtest.With(http.StatusOK, kernel))
	s.Start()
	w.web["api.github.com/repos/kernel/linux/releases/tags/v6"] = `{"assets": [{"name": "vmlinux"}]}`
	args := []string{"update", "linux", "--arch", "x86_64", "--from", s.URL + "/standin", "--allow-http-loopback"}
	want := "linux x86_64: pinned\n" +
		details(isKernel, kernel, "digest of what was downloaded, trust on first use: the API has none of this asset") +
		"  Bazel takes it from a folder that has it as vmlinux, with --distdir=FOLDER: --save FOLDER puts it there\n"
	if diff := cmp.Diff(result{0, want, ""}, w.pin(args...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	saved := filepath.Join(w.save, "vmlinux")
	for range 2 { // the file that is there is as good as a new one
		want = "linux x86_64: unchanged\n" + details(isKernel, kernel, "digest of the lock: the API has none of this asset") +
			"  saved " + saved + ", which Bazel takes with --distdir=" + w.save + "\n"
		if diff := cmp.Diff(result{0, want, ""}, w.pin(append(args, "--save", w.save)...)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if data, err := os.ReadFile(saved); string(data) != kernel || err != nil {
			t.Errorf("saved %q, %v", data, err)
		}
		if mode := stat(t, saved).Mode(); mode != 0o644 || len(list(t, w.save)) != 1 {
			t.Errorf("folder has %v, mode %v", list(t, w.save), mode)
		}
	}
	linux := w.parse(t).Lookup("linux", "x86_64")
	if diff := cmp.Diff([]string{kernelURL}, linux.URLs); diff != "" || linux.SHA256 != sumOf(kernel) {
		t.Errorf("SHA-256 %s, URLs (-want +got):\n%s", linux.SHA256, diff)
	}
	w.requireClean(t)
}

func TestUpdateFromLiars(t *testing.T) {
	for _, lie := range fetchtest.Lies {
		t.Run(lie.Name, func(t *testing.T) {
			w := newWorkspace(t)
			s := fetchtest.NewServer(t, lie.Answer)
			s.Start()
			w.client.Clock = s.Clock
			w.requireError(t, result{1, "", "pin: update linux x86_64: fetch " + s.URL + "/file: " + lie.Want},
				"update", "linux", "--arch", "x86_64", "--from", s.URL+"/file", "--allow-http-loopback", "--save", w.save)
		})
	}
}

func TestUpdateRejects(t *testing.T) {
	const prefix = "pin: update linux x86_64: "
	linux := []string{"update", "linux", "--arch", "x86_64", "--save", "SAVE"}
	debian := []string{"update", "busybox", "--arch", "x86_64", "--save", "SAVE"}
	all := []string{"update", "headers", "--arch", "all", "--save", "SAVE"}
	const vmlinux, deb = "github.com/kernel/linux/releases/download/v6/vmlinux", "mirror.example/debian/" + debPath
	tests := []struct {
		name   string
		args   []string
		change func(t *testing.T, w *workspace)
		want   string
	}{
		{"unknown", []string{"update", "linus", "--arch", "x86_64"}, nil, "pin: artifact linus is not there; there are busybox, headers, linux\n"},
		{"unknown for that", []string{"update", "headers", "--arch", "x86_64"}, nil, "pin: artifact headers is not there for x86_64, but for all\n"},
		{"not there", linux, func(_ *testing.T, w *workspace) { delete(w.web, vmlinux) }, prefix + "fetch " + kernelURL + ": server says 404 Not Found\n"},
		{"no address has it", all, func(_ *testing.T, w *workspace) {
			delete(w.web, "one.example/headers.tar.gz")
			delete(w.web, "two.example/headers.tar.gz")
		}, "pin: update headers all: fetch " + headersURL + ": server says 404 Not Found\nfetch " + mirrorURL + ": server says 404 Not Found\n"},
		{"from http", append([]string{"--from", "http://me:secret@one.example/vmlinux", "--allow-http-loopback"}, linux...), nil,
			prefix + "fetch http://one.example/vmlinux: want https\n"},
		{"from http on this machine", append([]string{"--from", "http://127.0.0.1:1/vmlinux"}, linux...), nil,
			prefix + "fetch http://127.0.0.1:1/vmlinux: want https (--allow-http-loopback allows http from this machine)\n"},
		{"no folder", []string{"update", "linux", "--arch", "x86_64", "--save", "/nosuch"}, nil, prefix + "save vmlinux: open /nosuch/.vmlinux"},
		{"other file in the folder", linux, func(t *testing.T, w *workspace) {
			if err := os.WriteFile(filepath.Join(w.save, "vmlinux"), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, prefix + "save SAVE/vmlinux: it is there already, with other bytes\n"},
		{"folder in the folder", linux, func(t *testing.T, w *workspace) {
			if err := os.Mkdir(filepath.Join(w.save, "vmlinux"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, prefix + "look at saved file: read SAVE/vmlinux: is a directory\n"},

		{"API says otherwise", linux, func(_ *testing.T, w *workspace) {
			w.web["api.github.com/repos/kernel/linux/releases/tags/v6"] = releaseWith(sumOf("x"))
		}, prefix + "got SHA-256 " + sumOf(kernel) + ", the API says " + sumOf("x") + "\n"},

		{"no kernel", linux, func(_ *testing.T, w *workspace) { w.web[vmlinux] = strings.Repeat("no kernel", 100) },
			prefix + "inspect what was fetched: no kernel: it starts with 6e6f206b, which is neither ELF, bzImage nor an arm64 Image\n"},
		{"nothing", linux, func(_ *testing.T, w *workspace) { w.web[vmlinux] = "" }, prefix + "inspect what was fetched: 0 bytes are too few for a kernel\n"},
		{"kernel for others", linux, func(_ *testing.T, w *workspace) { w.web[vmlinux] = string(kerneltest.Image()) },
			prefix + "inspect what was fetched: kernel is for aarch64, want x86_64\n"},

		{"other package", debian, func(_ *testing.T, w *workspace) {
			w.web[deb] = debOf("Package: toybox\nVersion: 2\nArchitecture: arm64\n")
		},
			"pin: update busybox x86_64: inspect what was fetched: it is package toybox 2 for arm64, want busybox 1 for amd64\n"},
		{"no package", debian, func(_ *testing.T, w *workspace) { w.web[deb] = kernel },
			"pin: update busybox x86_64: inspect what was fetched: read package: not an ar archive\n"},
		{"other bytes", debian, func(_ *testing.T, w *workspace) { w.web[deb] = strings.Replace(busybox, "ELF!", "EVIL", 1) },
			fmt.Sprintf("pin: update busybox x86_64: got SHA-256 %s (%d bytes), want %s (%[2]d bytes)\n",
				sumOf(strings.Replace(busybox, "ELF!", "EVIL", 1)), len(busybox), sumOf(busybox))},

		{"no gzip", all, func(_ *testing.T, w *workspace) { w.web["one.example/headers.tar.gz"] = tarOf("a", "b") },
			"pin: update headers all: inspect what was fetched: read gzip: gzip: invalid header\n"},
		{"no tar", all, func(_ *testing.T, w *workspace) {
			w.web["one.example/headers.tar.gz"] = gzipOf(strings.Repeat("no tar", 200))
		},
			"pin: update headers all: inspect what was fetched: read tar: archive/tar: invalid tar header\n"},
		{"empty tar", all, func(_ *testing.T, w *workspace) { w.web["one.example/headers.tar.gz"] = gzipOf(tarOf()) },
			"pin: update headers all: inspect what was fetched: archive has no entries\n"},
		{"cut archive", all, func(_ *testing.T, w *workspace) { w.web["one.example/headers.tar.gz"] = headers[:len(headers)-9] },
			"pin: update headers all: inspect what was fetched: read "},
		{"bytes behind the archive", all, func(_ *testing.T, w *workspace) { w.web["one.example/headers.tar.gz"] = headers + "x" },
			"pin: update headers all: inspect what was fetched: read gzip: unexpected EOF\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorkspace(t)
			if test.change != nil {
				test.change(t, w)
			}
			var args []string
			for _, arg := range test.args {
				args = append(args, strings.ReplaceAll(arg, "SAVE", w.save))
			}
			w.requireError(t, result{1, "", strings.ReplaceAll(test.want, "SAVE", w.save)}, args...)
		})
	}
}

func TestUpdateTakesTheNextAddress(t *testing.T) {
	w := newWorkspace(t)
	delete(w.web, "one.example/headers.tar.gz")
	want := result{0, "headers all: its size is known now\n" + details("archive of 1 entries", headers, "digest of the lock"),
		"pin: warning: fetch " + headersURL + ": server says 404 Not Found; took " + mirrorURL + "\n"}
	if diff := cmp.Diff(want, w.pin("update", "headers", "--arch", "all")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUpdateOfPackage(t *testing.T) {
	w := newWorkspace(t)
	want := result{0, "busybox x86_64: unchanged\n" + details("Debian package", busybox, "digest of the lock"), ""}
	if diff := cmp.Diff(want, w.pin("update", "busybox", "--arch", "x86_64")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
