package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layOut makes a host and a root; names with a target are links.
func (b *fixture) layOut() {
	b.t.Helper()
	for _, name := range []string{"bin", "data/home/u", "dev", "etc", "lost+found", "opt", "proc", "sys", "usr/share/go/src", "usr/lib/go", "usr/home/u", "var/tmp"} {
		b.mkdir("host/" + name)
	}
	for name, target := range map[string]string{
		"home":           "data/home",
		"dangling":       "nowhere",
		"usr/lib/go/src": "../../share/go/src",
	} {
		if err := os.Symlink(target, b.path("host/"+name)); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, name := range []string{"swapfile", "etc/hosts", "etc/passwd", "usr/lib/go/VERSION", "etc/ssl/certs/ca-certificates.crt"} {
		b.write("host/"+name, "")
	}
	b.mkdir("root/usr")
}

func TestBubblewrap(t *testing.T) {
	b := newFixture(t)
	b.layOut()
	b.workspace = "/usr/src/my ws"
	b.mkdir("host/usr/src/my ws")
	t.Setenv("HOME", "/usr/home/u")
	t.Setenv("TMPDIR", "relative")
	got, err := b.bubblewrap(b.path("cache/kindling/closed"), b.path("root"), "/usr/lib/go")
	if err != nil {
		t.Fatal(err)
	}
	want := `bwrap
--ro-bind|$DIR/root|/
--dev-bind|/dev|/dev
--bind|/proc|/proc
--bind|/sys|/sys
--bind|/data|/data
--bind|/home|/home
--bind|/opt|/opt
--bind|/usr/home/u|/usr/home/u
--bind|/usr/src/my ws|/usr/src/my ws
--bind|/var|/var
--ro-bind|/usr/lib/go|/usr/lib/go
--ro-bind|/usr/share/go/src|/usr/share/go/src
--ro-bind|/etc/hosts|/etc/hosts
--ro-bind|/etc/passwd|/etc/passwd
--ro-bind|/etc/ssl/certs/ca-certificates.crt|/etc/ssl/certs/ca-certificates.crt
--ro-bind|$DIR/cache/kindling/closed/cacerts-` + digest(string(trustStore(nil))) + `|/etc/ssl/certs/java/cacerts
--unsetenv|JAVA_HOME
--setenv|GOROOT|/usr/lib/go
--setenv|PATH|/usr/lib/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`
	text := strings.ReplaceAll(strings.Join(got, "|"), "|--", "\n--")
	if diff := cmp.Diff(want, strings.ReplaceAll(text, b.dir, "$DIR")); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	for _, point := range []string{"data", "home", "usr/src/my ws", "usr/share/go/src", "etc/hosts", "etc/ssl/certs/java/cacerts"} {
		if _, err := os.Lstat(b.path("root/" + point)); err != nil {
			t.Errorf("mount point: %v", err)
		}
	}
}

func TestHostFoldersHideNothing(t *testing.T) {
	b := newFixture(t)
	b.layOut()
	b.mkdir("host/usr/bin")
	plain, err := b.hostFolders()
	if err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{"", "/", "/usr", "/etc", "/usr/bin", "/usr/bin/", "/usr/absent", "usr/home/u", "foo"} {
		t.Setenv("HOME", home)
		got, err := b.hostFolders()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain, got); diff != "" {
			t.Errorf("HOME=%s (-without +with):\n%s", home, diff)
		}
	}
}

// A link in the root must not make mount points elsewhere.
func TestMountPointsStayInRoot(t *testing.T) {
	b := newFixture(t)
	b.layOut()
	b.mkdir("host/usr/local/u")
	b.mkdir("elsewhere")
	if err := os.Symlink(b.path("elsewhere"), b.path("root/usr/local")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", "/usr/local/u")
	if _, err := b.bubblewrap(b.path("cache/kindling/closed"), b.path("root"), "/usr/lib/go"); err == nil {
		t.Error("no error")
	}
	if got := b.folders("elsewhere", ""); len(got) > 0 {
		t.Errorf("made %v outside the root", got)
	}
}

func TestInsideDir(t *testing.T) {
	for _, c := range []struct{ workspace, workdir, want string }{
		{"/ws/main", "/ws/main/system", "/ws/main/system"},
		{"/usr/src/ws", "/usr/src/ws/a b", "/usr/src/ws/a b"},
		{"/ws/main", "/home/u", "/home/u"},
		{"/ws/main", "/etc", "/"},
		{"/ws/main", "/usr/src", "/"},
		{"/ws/main", "/", "/"},
	} {
		l := &launcher{workspace: c.workspace, workdir: c.workdir}
		if got := l.insideDir(); got != c.want {
			t.Errorf("in %s of %s: got %s, want %s", c.workdir, c.workspace, got, c.want)
		}
	}
}

// The bytes were compared once with what `keytool -list` of OpenJDK 25 reads.
func TestTrustStore(t *testing.T) {
	const bundle = "# a comment\n-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n" +
		"-----BEGIN X509 CRL-----\n/////w==\n-----END X509 CRL-----\n-----BEGIN CERTIFICATE-----\nBA==\n-----END CERTIFICATE-----\n"
	want := "\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x02" +
		"\x00\x00\x00\x02\x00\x04ca-0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05X.509\x00\x00\x00\x03\x01\x02\x03" +
		"\x00\x00\x00\x02\x00\x04ca-1\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05X.509\x00\x00\x00\x01\x04"
	got := string(trustStore([]byte(bundle)))
	if diff := cmp.Diff(want, got[:len(got)-20]); diff != "" {
		t.Errorf("store (-want +got):\n%s", diff)
	}
}
