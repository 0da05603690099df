package debian

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

// TestMain makes this program gpgv or apt-get when it is run by that name.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "gpgv":
		os.Exit(gpgv())
	case "apt-get":
		fmt.Print(os.Getenv(aptEnv))
		os.Exit(len(os.Getenv(aptFailsEnv)))
	default:
		os.Exit(m.Run())
	}
}

const (
	statusEnv   = "PIN_TEST_STATUS" // what gpgv says
	aptEnv      = "PIN_TEST_APT"    // what apt-get says
	aptFailsEnv = "PIN_TEST_APT_FAILS"
)

// gpgv is a stand-in that gives the text of a message, as gpgv does whether the
// signature is good or not.
func gpgv() int {
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	text, err := cleartext(message)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s", text)
	fmt.Fprint(os.Stderr, os.Getenv(statusEnv))
	return 2 // as for one unknown key among known ones
}

// programs makes a PATH of this program by other names.
func programs(t *testing.T, names ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

const (
	goodStatus = "gpgv: Good signature\n[GNUPG:] GOODSIG 1 Debian\n[GNUPG:] NO_PUBKEY 2\n"
	sum        = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func stanza(name, version, arch string) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nFilename: pool/%[1]s_%[2]s_%[3]s.deb\n"+
		"Description: a\n Package: b\nSize: 12\nSHA256: %s\n", name, version, arch, sum)
}

var index = strings.Join([]string{
	stanza("linux", "6.1-1", "amd64"),
	stanza("linux-doc", "6.1-1", "all"),
	stanza("two", "1", "amd64"),
	stanza("two", "2", "amd64"),
}, "\n")

func xzOf(t *testing.T, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := xz.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func signed(text string) string {
	return "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + text + "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n"
}

// mirror has the files of a mirror by path.
type mirror map[string]string

func newMirror(t *testing.T, index []byte) mirror {
	info := describe(index)
	return mirror{
		"/debian/dists/bookworm/InRelease": signed(fmt.Sprintf("Suite: oldstable\nCodename: bookworm\nMD5Sum:\n d41d8 1 main/binary-amd64/Packages.xz\n"+
			"SHA256:\n %s %d main/binary-amd64/Packages\n %s %d main/binary-amd64/Packages.xz\n", sum, 1, info.sha256, info.size)),
		"/debian/dists/bookworm/main/binary-amd64/Packages.xz": string(index),
	}
}

func (m mirror) find(t *testing.T, q Query) (Package, string, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := m[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if _, err := io.WriteString(w, text); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	q.Mirror = server.URL + "/debian"
	found, warning, err := Find(t.Context(), fetch.New(), q)
	if err != nil {
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), server.URL, "SERVER"))
	}
	return found, warning, err
}

func keyring(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring.gpg")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	m := newMirror(t, xzOf(t, index))
	keys := keyring(t)
	tests := []struct {
		name     string
		programs []string
		query    Query
		want     Package
		warning  string
	}{
		{"kernel", []string{"gpgv"}, Query{Suite: "bookworm", Arch: "x86_64", Package: "linux", Keyring: keys},
			Package{"6.1-1", "pool/linux_6.1-1_amd64.deb", sum, 12}, ""},
		{"by the suite's other name, of all architectures", []string{"gpgv"}, Query{Suite: "bookworm", Arch: "all", Package: "linux-doc", Version: "6.1-1", Keyring: keys},
			Package{"6.1-1", "pool/linux-doc_6.1-1_all.deb", sum, 12}, ""},
		{"one of two", []string{"gpgv"}, Query{Suite: "bookworm", Arch: "x86_64", Package: "two", Version: "1", Keyring: keys},
			Package{"1", "pool/two_1_amd64.deb", sum, 12}, ""},
		{"no gpgv", nil, Query{Suite: "bookworm", Arch: "x86_64", Package: "linux", Keyring: keys},
			Package{"6.1-1", "pool/linux_6.1-1_amd64.deb", sum, 12}, "gpgv is not installed"},
		{"no keyring", []string{"gpgv"}, Query{Suite: "bookworm", Arch: "x86_64", Package: "linux", Keyring: "/nosuch.gpg"},
			Package{"6.1-1", "pool/linux_6.1-1_amd64.deb", sum, 12}, "/nosuch.gpg does not exist (package debian-archive-keyring)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs(t, test.programs...)
			t.Setenv(statusEnv, goodStatus)
			got, warning, err := m.find(t, test.query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || warning != test.warning {
				t.Errorf("warning %q, want %q; (-want +got):\n%s", warning, test.warning, diff)
			}
		})
	}
}

func TestFindRejects(t *testing.T) {
	const (
		inRelease = "/debian/dists/bookworm/InRelease"
		packages  = "/debian/dists/bookworm/main/binary-amd64/Packages.xz"
	)
	good := Query{Suite: "bookworm", Arch: "x86_64", Package: "linux"}
	with := func(change func(q *Query)) Query {
		q := good
		change(&q)
		return q
	}
	tests := []struct {
		name   string
		query  Query
		change func(m mirror) mirror
		status string // of gpgv, where it is not good
		want   string
	}{
		{"architecture", with(func(q *Query) { q.Arch = "amd64" }), nil, "", `architecture "amd64" is none of x86_64, aarch64 and all`},
		{"no such package", with(func(q *Query) { q.Package = "linus" }), nil, "", "there is none of this name and architecture"},
		{"package for others", with(func(q *Query) { q.Arch = "all" }), nil, "", "there is none of this name and architecture"},
		{"no such version", with(func(q *Query) { q.Version = "6.1-2" }), nil, "", "version 6.1-2 is not there, but 6.1-1"},
		{"two versions", with(func(q *Query) { q.Package = "two" }), nil, "", "there are several versions, want one of them: 1, 2"},
		{"architecture that the mirror lacks", with(func(q *Query) { q.Arch = "aarch64" }), nil, "", "InRelease has no main/binary-arm64/Packages.xz"},
		{"no suite", good, func(m mirror) mirror { return mirror{} }, "", "fetch SERVER" + inRelease + ": server says 404 Not Found"},
		{"no index", good, func(m mirror) mirror { delete(m, packages); return m }, "", "fetch SERVER" + packages + ": server says 404 Not Found"},
		{"other suite", good, func(m mirror) mirror {
			m[inRelease] = strings.Replace(m[inRelease], "Codename: bookworm", "Codename: trixie", 1)
			return m
		}, "", "got InRelease of suite trixie (oldstable)"},
		{"other index", good, func(m mirror) mirror { m[packages] += "x"; return m }, "", "main/binary-amd64/Packages.xz has SHA-256 "},
		{"index that is no xz", good, func(mirror) mirror { return newMirror(t, []byte("plain text, no xz")) }, "", "decompress main/binary-amd64/Packages.xz: xz: "},
		{"field twice", good, func(mirror) mirror { return newMirror(t, xzOf(t, "Package: a\nPackage: linux\n")) }, "",
			"parse main/binary-amd64/Packages.xz: package a: field Package stands twice"},
		{"no size", good, func(mirror) mirror { return newMirror(t, xzOf(t, "Package: linux\nArchitecture: amd64\n")) }, "",
			`parse main/binary-amd64/Packages.xz: package linux: size is ""`},
		{"long line", good, func(mirror) mirror { return newMirror(t, xzOf(t, strings.Repeat("x", maxLine+1))) }, "",
			"parse main/binary-amd64/Packages.xz: bufio.Scanner: token too long"},
		{"no sums", good, func(mirror) mirror { return mirror{inRelease: signed("Codename: bookworm\n")} }, "", "parse InRelease: it has no list SHA256"},
		{"odd sums", good, func(mirror) mirror { return mirror{inRelease: signed("SHA256:\n abc 1 a\n")} }, "",
			`parse InRelease: line " abc 1 a" is not of SHA-256, size and path`},
		{"odd size", good, func(mirror) mirror { return mirror{inRelease: signed("SHA256:\n " + sum + " x a\n")} }, "",
			`parse InRelease: line " ` + sum + ` x a": strconv.ParseInt: parsing "x": invalid syntax`},
		{"sum twice", good, func(mirror) mirror { return mirror{inRelease: signed("SHA256:\n " + sum + " 1 a\n " + sum + " 1 a\n")} }, "", "parse InRelease: a stands twice"},
		{"bad signature", good, nil, "[GNUPG:] GOODSIG 1 Debian\n[GNUPG:] BADSIG 2 Debian\n", "verify InRelease: no good signature of Debian's keys in "},
		{"expired key", good, nil, "[GNUPG:] EXPKEYSIG 1 Debian\n", "verify InRelease: no good signature of Debian's keys in "},
		{"unknown key", good, nil, "[GNUPG:] NO_PUBKEY 1\n", "verify InRelease: no good signature of Debian's keys in "},
		{"words of a good signature", good, nil, "[GNUPG:] NO_PUBKEY 1 GOODSIG \nGOODSIG 1 Debian\ngpgv: [GNUPG:] GOODSIG 1\n", "verify InRelease: no good signature of Debian's keys in "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs(t, "gpgv")
			t.Setenv(statusEnv, test.status)
			if test.status == "" {
				t.Setenv(statusEnv, goodStatus)
			}
			test.query.Keyring = keyring(t)
			m := newMirror(t, xzOf(t, index))
			if test.change != nil {
				m = test.change(m)
			}
			want := "find package " + test.query.Package + " in bookworm: " + test.want
			if _, _, err := m.find(t, test.query); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got error %v\nwant %s", err, want)
			}
		})
	}
	t.Run("no signed message", func(t *testing.T) {
		programs(t)
		m := mirror{inRelease: "Codename: bookworm\n"}
		const want = "find package linux in bookworm: verify InRelease: it is no signed message"
		if _, _, err := m.find(t, good); err == nil || err.Error() != want {
			t.Errorf("got error %v\nwant %s", err, want)
		}
	})
}

func TestMirror(t *testing.T) {
	const (
		security = "Debian\tDebian-Security\thttp://a.example/security/\n"
		none     = "apt knows no Debian mirror: run 'apt-get update' as root, or set DEBIAN_MIRROR=URL"
	)
	tests := []struct {
		name, environment, apt, fails string
		want, wantErr                 string
	}{
		{"environment", "https://me:pass@a.example/debian/", "", "", "https://me:pass@a.example/debian", ""},
		{"apt", "", "Vendor\tDebian\thttp://a.example/vendor\n" + security + "Debian\tDebian\tfile:/b\nDebian\tDebian\thttp://b.example/debian/\n", "",
			"http://b.example/debian", ""},
		{"none", "", security, "", "", none},
		{"apt fails", "", "", "x", "", "ask apt for its Debian mirror (DEBIAN_MIRROR=URL names one instead): exit status 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			programs(t, "apt-get")
			t.Setenv("DEBIAN_MIRROR", test.environment)
			t.Setenv(aptEnv, test.apt)
			t.Setenv(aptFailsEnv, test.fails)
			got, err := Mirror(t.Context())
			gotErr := ""
			if err != nil {
				gotErr = err.Error()
			}
			if got != test.want || gotErr != test.wantErr {
				t.Errorf("got %q, error %q, want %q, error %q", got, gotErr, test.want, test.wantErr)
			}
		})
	}
}

func TestKeyringUnreadable(t *testing.T) {
	programs(t, "gpgv")
	_, _, err := verify(t.Context(), nil, filepath.Join(os.Args[0], "keyring.gpg"))
	if err == nil || !strings.HasPrefix(err.Error(), "look for keyring: ") {
		t.Errorf("got error %v, want one of the keyring", err)
	}
}

func FuzzParsePackages(f *testing.F) {
	f.Add(index)
	f.Fuzz(func(t *testing.T, text string) {
		// Whatever it is, it is an error or has no more packages than lines.
		found, err := parsePackages(strings.NewReader(text), "linux", "amd64")
		if err == nil && len(found) > strings.Count(text, "\n")+1 {
			t.Errorf("got %d packages", len(found))
		}
	})
}

func FuzzParseRelease(f *testing.F) {
	f.Add(signed("Codename: bookworm\nSHA256:\n " + sum + " 1 main/binary-amd64/Packages.xz\n"))
	f.Fuzz(func(t *testing.T, text string) {
		signedText, err := cleartext([]byte(text))
		if err != nil {
			return
		}
		if release, err := parseRelease(signedText); err == nil && len(release.files) == 0 {
			t.Error("got a release with no files")
		}
	})
}
