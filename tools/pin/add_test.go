package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/kindling-vm/kindling/system/lock"
)

// addSuite puts an index with one package into the web, unsigned.
func (w *workspace) addSuite(t *testing.T, content string) {
	t.Helper()
	var index bytes.Buffer
	compressor, err := xz.NewWriter(&index)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(compressor, "Package: toybox\nVersion: 2\nArchitecture: amd64\nFilename: pool/t/toybox_2_amd64.deb\nSize: %d\nSHA256: %s\n",
		len(content), sumOf(content))
	if err != nil {
		t.Fatal(err)
	}
	if err := compressor.Close(); err != nil {
		t.Fatal(err)
	}
	w.web["mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz"] = index.String()
	w.web["mirror.example/debian/dists/bookworm/InRelease"] = fmt.Sprintf(
		"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nCodename: bookworm\nSHA256:\n %s %d main/binary-amd64/Packages.xz\n-----BEGIN PGP SIGNATURE-----\n",
		sumOf(index.String()), index.Len())
	t.Setenv("PATH", t.TempDir()) // no gpgv
}

var toybox = debOf("Package: toybox\nVersion: 2\nArchitecture: amd64\n")

const warning = "pin: WARNING: nobody vouches for the digest: the index of http://mirror.example/debian was not checked by a signature: gpgv is not installed\n"

func TestAdd(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		want   result
		wanted lock.Artifact
	}{
		{"kernel", []string{"linux-b", "--arch", "x86_64", "--kind", "kernel", "--license", "GPL-2.0-only", "--version", "6",
			"--url", kernelURL, "--url", "https://two.example/vmlinux", "--headers", "headers"},
			result{0, "linux-b x86_64: added\n" + details(isKernel, kernel, "digest from the API"), ""},
			lock.Artifact{Name: "linux-b", Arch: "x86_64", Kind: lock.Kernel, Version: "6", License: "GPL-2.0-only", SHA256: sumOf(kernel),
				Size: int64(len(kernel)), URLs: []string{kernelURL, "https://two.example/vmlinux"}, Headers: []string{"headers"}}},
		{"package", []string{"a", "--arch", "x86_64", "--kind", "base", "--license", "0BSD", "--package", "toybox"},
			result{0, "a x86_64: added\n" + details("Debian package", toybox, "digest from an index whose signature was not checked"), warning},
			lock.Artifact{Name: "a", Arch: "x86_64", Kind: lock.Base, Version: "2", License: "0BSD", SHA256: sumOf(toybox),
				Size: int64(len(toybox)), Package: "toybox", Path: "pool/t/toybox_2_amd64.deb"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorkspace(t)
			w.addSuite(t, toybox)
			w.web["mirror.example/debian/pool/t/toybox_2_amd64.deb"] = toybox
			before := w.parse(t)
			if diff := cmp.Diff(test.want, w.pin(append([]string{"add"}, test.args...)...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			after := w.parse(t)
			if diff := cmp.Diff(&test.wanted, after.Lookup(test.wanted.Name, test.wanted.Arch)); diff != "" {
				t.Errorf("artifact (-want +got):\n%s", diff)
			}
			if len(after.Artifacts) != len(before.Artifacts)+1 {
				t.Errorf("got %d artifacts, had %d", len(after.Artifacts), len(before.Artifacts))
			}
			w.requireClean(t)
		})
	}
}

func TestAddRejects(t *testing.T) {
	kernelFlags := []string{"--arch", "x86_64", "--kind", "kernel", "--license", "GPL-2.0-only", "--version", "6"}
	from := func(name, url string, more ...string) []string {
		return append(append([]string{name, "--url", url}, kernelFlags...), more...)
	}
	packaged := []string{"a", "--arch", "x86_64", "--kind", "base", "--license", "0BSD", "--package", "toybox"}
	tests := []struct {
		name   string
		args   []string
		change func(w *workspace)
		want   string
	}{
		{"is there", from("linux", kernelURL), nil, "pin: add linux x86_64: it is there already; update refreshes it\n"},
		{"bad name", from("Linux", kernelURL), nil,
			`pin: add Linux x86_64: check lock: artifact 0 (Linux x86_64): name is "Linux", want only lower-case letters, digits, . and -` + "\n"},
		{"http", from("a", "http://one.example/vmlinux"), nil,
			`pin: add a x86_64: check lock: artifact 0 (a x86_64): urls has "http://one.example/vmlinux", want https` + "\n"},
		{"unknown headers", from("a", kernelURL, "--headers", "none"), nil,
			`pin: add a x86_64: check lock: artifact 0 (a x86_64): headers has "none", which are no headers for x86_64 or all` + "\n"},
		{"not there", from("a", "https://one.example/vmlinux"), nil, "pin: add a x86_64: fetch https://one.example/vmlinux: server says 404 Not Found\n"},
		{"no kernel", from("a", headersURL), nil, "pin: add a x86_64: inspect what was fetched: "},
		{"no such package", append(packaged, "--version", "3"), nil,
			"pin: add a x86_64: find package toybox in bookworm: version 3 is not there, but 2\n"},
		{"no such suite", append(packaged, "--suite", "none"), nil,
			"pin: add a x86_64: find package toybox in none: fetch http://mirror.example/debian/dists/none/InRelease: server says 404 Not Found\n"},
		{"package is not there", packaged, func(w *workspace) { delete(w.web, "mirror.example/debian/pool/t/toybox_2_amd64.deb") },
			warning + "pin: add a x86_64: fetch http://mirror.example/debian/pool/t/toybox_2_amd64.deb: server says 404 Not Found\n"},
		{"package is another", packaged, func(w *workspace) { w.web["mirror.example/debian/pool/t/toybox_2_amd64.deb"] += "\n" },
			warning + "pin: add a x86_64: inspect what was fetched: read package: read ar header: unexpected EOF\n"},
		{"package has other bytes", packaged, func(w *workspace) {
			w.web["mirror.example/debian/pool/t/toybox_2_amd64.deb"] = strings.Replace(toybox, "ELF!", "EVIL", 1)
		}, warning + "pin: add a x86_64: got SHA-256 "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorkspace(t)
			w.addSuite(t, toybox)
			w.web["mirror.example/debian/pool/t/toybox_2_amd64.deb"] = toybox
			if test.change != nil {
				test.change(w)
			}
			w.requireError(t, result{1, "", test.want}, append([]string{"add"}, test.args...)...)
		})
	}
}

func TestNoMirror(t *testing.T) {
	w := newWorkspace(t)
	t.Setenv("DEBIAN_MIRROR", "")
	t.Setenv("PATH", t.TempDir())
	const apt = "ask apt for its Debian mirror (DEBIAN_MIRROR=URL names one instead): exec: \"apt-get\": executable file not found in $PATH\n"
	w.requireError(t, result{1, "", "pin: update busybox x86_64: " + apt}, "update", "busybox", "--arch", "x86_64")
	w.requireError(t, result{1, "", "pin: add a x86_64: " + apt},
		"add", "a", "--arch", "x86_64", "--kind", "base", "--license", "0BSD", "--package", "toybox")
	got := w.pin("check", "busybox")
	want := "pin: check busybox aarch64: it is not pinned; update pins it\ncheck busybox x86_64: " + apt
	if diff := cmp.Diff(result{1, "", want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// failingWriter is a standard output whose reader has gone.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestOutputFails(t *testing.T) {
	for _, args := range [][]string{
		{"check", "headers"},
		{"default", "debian", "--kernel", "linux"},
		{"update", "linux", "--arch", "x86_64"},
		{"add", "b", "--arch", "all", "--kind", "headers", "--license", "MIT", "--version", "1", "--url", headersURL},
	} {
		w := newWorkspace(t)
		var stderr bytes.Buffer
		code := run(w.client, append([]string{"--lock", filepath.Clean(w.lock), "--progress", "quiet"}, args...), failingWriter{}, &stderr)
		if code != 1 || !bytes.Contains(stderr.Bytes(), []byte("io: read/write on closed pipe")) {
			t.Errorf("%q: got code %d, %s", args, code, &stderr)
		}
	}
}
