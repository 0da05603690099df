package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseIndexTargets(t *testing.T) {
	for _, c := range []struct {
		name, out, want string
	}{
		{"nothing", "", ""},
		{"Debian", "Debian\tDebian\thttp://deb.example/debian/\n", "http://deb.example/debian"},
		{"first of many", "Debian\tDebian\thttps://a.example/debian\nDebian\tDebian\thttps://b.example/debian\n", "https://a.example/debian"},
		{"security only", "Debian\tDebian-Security\thttp://deb.example/debian-security/\n", ""},
		{"others before", "Ubuntu\tUbuntu\thttp://u.example/\nGoogle\tDebian\thttp://g.example/\nDebian\tDebian\thttp://d.example/\n", "http://d.example"},
		{"lists are empty", "$(ORIGIN)\t$(LABEL)\thttp://deb.example/debian/\n", ""},
		{"discs and files", "Debian\tDebian\tcdrom:[Debian 12]/\nDebian\tDebian\tfile:/srv/debian/\nDebian\tDebian\thttp://d.example\n", "http://d.example"},
		{"garbage", "Debian Debian http://deb.example\nDebian\tDebian\n\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := parseIndexTargets(c.out)
			if got != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, c.want)
			}
		})
	}
}

func TestDebianMirror(t *testing.T) {
	b := newFixture(t)
	if _, err := b.debianMirror(t.Context()); err == nil || !strings.Contains(err.Error(), "DEBIAN_MIRROR=URL names one instead") {
		t.Errorf("without apt: got %v", err)
	}
	b.fake("apt-get", "")
	if _, err := b.debianMirror(t.Context()); !errors.Is(err, errNoMirror) {
		t.Errorf("without lists: got %v", err)
	}
	b.fake("apt-get", "echo 'E: broken sources' >&2; exit 100")
	if _, err := b.debianMirror(t.Context()); err == nil || !strings.Contains(err.Error(), "E: broken sources") {
		t.Errorf("broken apt: got %v", err)
	}
	t.Setenv("DEBIAN_MIRROR", "http://named.example/debian/")
	if got, err := b.debianMirror(t.Context()); got != "http://named.example/debian" || err != nil {
		t.Errorf("named: got %q, %v", got, err)
	}
}

func TestCredentials(t *testing.T) {
	for mirror, want := range map[string]string{
		"http://deb.example/debian":            "",
		"http://deb.example/a@b":               "",
		"http://user:pw@deb.example/debian":    "user:pw@",
		"https://user:p@w@deb.example:80/d":    "user:p@w@",
		"http://user@deb.example":              "user@",
		"http://user:p%40w@deb.example/debian": "user:p%40w@",
		"http://user:p\x7fw@deb.example":       "user:p\x7fw@",
	} {
		if got := credentials(mirror); got != want {
			t.Errorf("credentials(%q) = %q, want %q", mirror, got, want)
		}
	}
}

func TestEnsureTools(t *testing.T) {
	for _, c := range []struct {
		name    string
		uid     int
		there   []string
		apt     string
		calls   []string
		wantErr string
	}{
		{name: "all there", there: []string{"bwrap", "mmdebstrap"}},
		{name: "all there for a user", uid: 1000, there: []string{"bwrap", "mmdebstrap", "newuidmap"}},
		{name: "root installs", calls: []string{"-o DPkg::Lock::Timeout=120 update",
			"-o DPkg::Lock::Timeout=120 install -y --no-install-recommends bubblewrap mmdebstrap"}},
		{name: "root installs one", there: []string{"bwrap"}, calls: []string{"-o DPkg::Lock::Timeout=120 update",
			"-o DPkg::Lock::Timeout=120 install -y --no-install-recommends mmdebstrap"}},
		{name: "update fails", there: []string{"bwrap"}, apt: `[ "$3" = install ]`,
			calls: []string{"-o DPkg::Lock::Timeout=120 update", "-o DPkg::Lock::Timeout=120 install -y --no-install-recommends mmdebstrap"}},
		{name: "install fails", there: []string{"bwrap"}, apt: `[ "$3" = update ]`,
			calls:   []string{"-o DPkg::Lock::Timeout=120 update", "-o DPkg::Lock::Timeout=120 install -y --no-install-recommends mmdebstrap"},
			wantErr: "install mmdebstrap: exit status 1"},
		{name: "user is told", uid: 1000,
			wantErr: "missing bubblewrap, mmdebstrap, uidmap; run: sudo apt-get install -y --no-install-recommends bubblewrap mmdebstrap uidmap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFixture(t)
			b.uid = c.uid
			b.fake("apt-get", c.apt)
			for _, name := range c.there {
				b.fake(name, "")
			}
			var log strings.Builder
			err := b.ensureTools(t.Context(), &log)
			if c.wantErr == "" && err != nil || c.wantErr != "" && (err == nil || err.Error() != c.wantErr) {
				t.Errorf("got %v, want %q", err, c.wantErr)
			}
			var calls []string
			calls = append(calls, b.calls("apt-get")...)
			if diff := cmp.Diff(c.calls, calls); diff != "" {
				t.Errorf("apt-get (-want +got):\n%s", diff)
			}
		})
	}
}

// Images come without apt's lists.
func TestRootUpdatesEmptyLists(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	b.fake("apt-get", `case "$*" in
*update) echo >"$BENCH/updated" ;;
*) [ ! -e "$BENCH/updated" ] || printf 'Debian\tDebian\thttp://mirror.example/debian/\n' ;;
esac`)
	b.uid = 1000
	b.fake("newuidmap", "")
	if _, err := b.ensure(t.Context()); !errors.Is(err, errNoMirror) {
		t.Errorf("as user: got %v", err)
	}
	b.uid = 0
	if _, err := b.ensure(t.Context()); err != nil {
		t.Errorf("as root: got %v", err)
	}
}
