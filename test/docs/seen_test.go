//go:build !vm

package docs

import (
	"archive/tar"
	"bytes"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// zeros is the ID of a set that nobody has.
var zeros = "sha256:" + strings.Repeat("0", 64)

// mishaps are command lines that go wrong, and the message of
// docs/troubleshooting.md that each one gives. ZEROS is the ID of a set that
// nobody has, ID that of the installed one, BUSY a port that is taken.
var mishaps = []struct{ line, message string }{
	{"KINDLING_ARTIFACTS= kindling run -- true",
		"find kernel and initrd for ARCH; run kindling by bazel or name a set with --artifacts, --set or --kernel: ..."},
	{`PATH="$ONLY_KINDLING" kindling run -- true`,
		"find hypervisor's program (Debian package NAME): exec: NAME: executable file not found in $PATH"},
	{"kindling run --name web -- true", "a machine called NAME is running; choose another --name"},
	{"kindling run --name ../x -- true", "machine name NAME: want 1 to 32 letters, digits, _, . or -, the first a letter or digit"},
	{"KINDLING_STATE_DIR=$PWD/" + strings.Repeat("long", 30) + " kindling run -- true",
		"folder PATH of machine NAME is too long for its sockets by N bytes; KINDLING_STATE_DIR names another place"},
	{"KINDLING_ARTIFACTS=$PWD/other/manifest.json kindling run -- true", "open artifact set PATH: unsupported architecture: it has nothing for ARCH"},
	{"kindling run echo hello", "want one image, got ...; the command goes behind --"},
	{"KINDLING_TEST_STAYS=1 kindling run --timeout 1s -- true", "machine did not end within TIME"},
	{"kindling run 'no such image'", `load image "REF": no such file, and ...`},
	{"kindling run other.tar", `load image "NAME": a file or folder has that name but is no image; as a root file system it is ./NAME`},
	{"kindling run -p BUSY:80 -- true", "publish port PORT of the guest: listen tcp4 ADDRESS: bind: address already in use"},
	{"kindling run -p 80 -- true", `--publish is "TEXT", want [ADDRESS:]HOST:GUEST[/tcp] with an IPv4 address`},
	{"kindling run --net none -p 80:80 -- true", "--publish needs --net user, but --net is TEXT"},
	{"kindling run -v data -- true", `--volume is "TEXT", want SOURCE:PATH[:ro|rw|overlay] with an absolute PATH`},
	{"kindling run -v .:/src:rw -- true",
		"use volume PATH: a folder reaches the guest as a copy, and nothing that it writes would come back: ..."},
	{"kindling run -v ./other.tar:/data -- true", "use volume PATH: it has no file system that the guest knows: want ext4, erofs or squashfs"},
	{"kindling logs none", "no machine is called NAME"},
	{"kindling exec none -- true", "no machine called NAME is running"},
	{"kindling exec web true", "got ..., want VM -- COMMAND [ARG...]"},
	{"kindling exec -it web -- true </dev/null", "the input device is not a terminal; -t without -i needs none"},
	{"kindling exec --timeout 1s web -- sleep 100", "command in machine NAME did not end within its time"},
	{"kindling rm web", "machine NAME is TEXT; kindling stop ends it, rm -f kills it"},
	{"kindling cp one two", "got ... and ..., want one of them as VM:PATH"},
	{"kindling resolve ZEROS", "artifact set ID is not installed: get it with kindling install ID"},
	{"kindling paths --arch OTHER latest", "artifact set ID is not complete for ARCH, it lacks KIND: get them with kindling install ID"},
	{"for f in installed/system/initrd/*/sha256-*/initrd; do printf x >>$f; done; kindling verify", "PATH is corrupt: it has SHA-256 HEX, want HEX; it is now PATH"},
	{"kindling install http://registry.invalid/set", "nobody vouches for a manifest over plain http: name the set's ID, or use https"},
	{"kindling install ZEROS", "got no SOURCE; --source and KINDLING_SOURCE name one as well"},
	{"kindling pull registry.example/set:1 set", "neither digest nor set ID nor signature says which bytes are wanted"},
	{"kindling pull --set ZEROS registry.example/set:1 set", "reference is another artifact set"},
	{"kindling pull --key key.pub.pem registry.example/set:1 set", "no signature"},
	{"kindling pull --set ID registry.example/set taken", "folder has another artifact set, ID"},
	{"rm -r installed; mkdir installed; kindling doctor", "no artifact set is installed"},
	{`PATH="$ONLY_KINDLING" kindling doctor`, "not in PATH, and kindling run needs it"},
}

// TestMishaps checks that messages of docs/troubleshooting.md are what users
// see.
func TestMishaps(t *testing.T) {
	kindling := filepath.Join(t.TempDir(), "kindling")
	build(t, kindling, "./cmd/kindling")
	h := newHost(t, kindling)
	id := strings.TrimSpace(install(t, h))
	h.run(t, "kindling push --progress quiet bazel-bin/system/bundle registry.example/set:1")
	h.run(t, "kindling run -d --name web -- sleep 1000")
	h.writeMishaps(t)
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := busy.Close(); err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(busy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ONLY_KINDLING", filepath.Dir(kindling))
	text := readText(t, "docs/troubleshooting.md")
	names := strings.NewReplacer("ZEROS", zeros, "ID", id, "BUSY", port, "registry.example", h.registry, "OTHER", otherArch())
	for _, mishap := range mishaps {
		if !strings.Contains(text, "| `"+strings.ReplaceAll(mishap.message, "|", `\|`)+"` |") {
			t.Errorf("docs/troubleshooting.md has no row of %q", mishap.message)
		}
		cmd := exec.Command(h.shell, "-c", names.Replace(mishap.line))
		cmd.Dir = h.dir
		out, err := cmd.CombinedOutput()
		if _, ended := errors.AsType[*exec.ExitError](err); !ended || !likeness(mishap.message).Match(out) {
			t.Errorf("%s: got error %v, want a message %q:\n%s", mishap.line, err, mishap.message, out)
		}
	}
}

// likeness is what a message of a page looks like.
func likeness(message string) *regexp.Regexp {
	var pattern strings.Builder
	for _, word := range regexp.MustCompile(`\.\.\.|\b[A-Z]+\b|[^.A-Z]+|.`).FindAllString(message, -1) {
		if word == "..." || slices.Contains([]string{"ADDRESS", "ARCH", "HEX", "ID", "KIND", "N", "NAME", "PATH", "PORT", "REF", "TEXT", "TIME"}, word) {
			pattern.WriteString("[^\n]+")
		} else {
			pattern.WriteString(regexp.QuoteMeta(word))
		}
	}
	return regexp.MustCompile(pattern.String())
}

func otherArch() string {
	if strings.HasSuffix(hypervisor, "x86_64") {
		return "aarch64"
	}
	return "x86_64"
}

// writeMishaps writes what the command lines of mishaps want.
func (h *host) writeMishaps(t *testing.T) {
	t.Helper()
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	if err := errors.Join(writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644}), writer.Close()); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(h.dir, "other.tar"), archive.Bytes())
	writeSet(t, filepath.Join(h.dir, "other"), otherArch())
	writeFile(t, filepath.Join(h.dir, "taken/manifest.json"), []byte("{}"))
	writeFile(t, filepath.Join(h.dir, "key.pub.pem"), []byte(`-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
`))
	t.Setenv("KINDLING_PROGRESS", "quiet")
}
