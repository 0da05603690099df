package system

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/system/bundle"
)

func TestManager(t *testing.T) {
	set := makeSet(t, 1)
	dataDir := t.TempDir()
	m := NewManager(dataDir, Options{Sources: []Source{Dir(set.dir)}})
	if version := m.GetDefaultKernelVersion(); version != DefaultKernelVersion {
		t.Errorf("default version = %s, want %s", version, DefaultKernelVersion)
	}
	if _, err := m.GetInitrdPath(); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "read latest symlink: ") {
		t.Errorf("nothing installed: got error %v", err)
	}
	for range 2 {
		if err := m.EnsureSystemFiles(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	version := m.GetDefaultKernelVersion()
	kernel, err := m.GetKernelPath(version)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dataDir, "system/kernel", string(version), GetArch(), "vmlinux"); kernel != want {
		t.Errorf("kernel path = %s, want %s", kernel, want)
	}
	initrd, err := m.GetInitrdPath()
	if err != nil {
		t.Fatal(err)
	}
	wantSet(t, &Set{ID: set.id, Kernel: kernel, Initrd: initrd}, set)
	// Other programs read the link.
	target, err := os.Readlink(filepath.Join(dataDir, "system/initrd", GetArch(), "latest"))
	if want := "sha256-" + set.file(bundle.Initrd).SHA256; err != nil || target != want {
		t.Errorf("latest leads to %s, %v, want %s", target, err, want)
	}
}

func TestGetKernelPathRefuses(t *testing.T) {
	s := install(t, makeSet(t, 1))
	for _, version := range []KernelVersion{"", "..", "../../etc", "/etc", "latest", "6.6.6", "a/../b", KernelVersion(strings.Repeat("9", 300))} {
		if path, err := s.GetKernelPath(version); !errors.Is(err, ErrUnsupportedVersion) || path != "" {
			t.Errorf("GetKernelPath(%.20q) = %q, %v, want ErrUnsupportedVersion", version, path, err)
		}
	}
	_, err := s.GetKernelPath(Kernel_202601152)
	if missing, ok := errors.AsType[*NotInstalledError](err); !ok || missing.Kernel != Kernel_202601152 || errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("supported but missing: got error %v", err)
	}
}

func TestEnsureSystemFilesMovesOn(t *testing.T) {
	a, b := makeSet(t, 1), makeSet(t, 2) // two builds of one kernel version
	dataDir := t.TempDir()
	for _, set := range []fakeSet{a, b, a} {
		s := NewStore(dataDir, Options{Sources: []Source{Dir(set.dir)}, SetID: set.id})
		if err := s.EnsureSystemFiles(t.Context()); err != nil {
			t.Fatal(err)
		}
		kernel, err := s.GetKernelPath(s.GetDefaultKernelVersion())
		if err != nil {
			t.Fatal(err)
		}
		initrd, err := s.GetInitrdPath()
		if err != nil {
			t.Fatal(err)
		}
		wantSet(t, &Set{ID: set.id, Kernel: kernel, Initrd: initrd}, set)
	}
	if got, err := NewStore(dataDir, Options{}).Resolve(t.Context(), b.id, ""); err != nil {
		t.Error(err)
	} else {
		wantSet(t, got, b)
	}
	// What is installed is enough where no source is named, or none is needed.
	for _, options := range []Options{{}, {SetID: a.id}, {SetID: a.id, Sources: []Source{Dir("/nowhere")}}} {
		if err := NewStore(dataDir, options).EnsureSystemFiles(t.Context()); err != nil {
			t.Errorf("%+v: %v", options, err)
		}
	}
}

func TestEnsureSystemFilesErrors(t *testing.T) {
	set := makeSet(t, 1)
	broken := serve(t, set, func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusNotFound) })
	unwritable := func(step, name string) error {
		if step == "rename" && strings.HasPrefix(name, initrdDir) {
			return errors.New("broken disk")
		}
		return nil
	}
	for _, test := range []struct {
		name    string
		options Options
		prefix  string
		is      error
	}{
		{"nothing", Options{}, "ensure kernel " + string(DefaultKernelVersion) + ": ", fs.ErrNotExist},
		{"no source", Options{SetID: set.id}, "ensure kernel ", fs.ErrNotExist},
		{"source without set", Options{Sources: []Source{Dir("/nowhere")}}, "ensure kernel ", ErrDownloadFailed},
		{"source without initrd", Options{Sources: []Source{webSource(t, broken)}}, "ensure initrd: ", ErrDownloadFailed},
		{"disk", Options{Sources: []Source{Dir(set.dir)}, fault: unwritable}, "ensure initrd: build failed: ", ErrBuildFailed},
		{"version", Options{KernelVersion: "7.7.7", Sources: []Source{Dir(set.dir)}}, "ensure kernel 7.7.7: ", ErrUnsupportedVersion},
		{"traversal", Options{KernelVersion: "../..", Sources: []Source{Dir(set.dir)}}, "ensure kernel ../..: ", ErrUnsupportedVersion},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := NewManager(t.TempDir(), test.options).EnsureSystemFiles(t.Context())
			if !errors.Is(err, test.is) || !strings.HasPrefix(err.Error(), test.prefix) {
				t.Errorf("got error %v, want %q and %v in its chain", err, test.prefix, test.is)
			}
		})
	}
}

// TestLatestIsNoWayOut puts links of an attacker in the place of what is ours.
func TestLatestIsNoWayOut(t *testing.T) {
	set := makeSet(t, 1)
	outside := t.TempDir()
	for name, target := range map[string]string{
		"system/sets/latest":             "../../..",
		"system/sets":                    outside,
		"system/kernel":                  outside,
		"system/tmp":                     outside,
		"system/locks":                   outside,
		"system/locks/collect":           outside + "/lock",
		"system/" + manifestPath(set.id): outside + "/manifest",
		"system/" + setDir(set.id):       outside,
		"system":                         outside,
		"system/" + location(GetArch(), set.file("kernel")): outside + "/kernel",
	} {
		t.Run(name, func(t *testing.T) {
			dataDir := t.TempDir()
			link := filepath.Join(dataDir, name)
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			s := NewStore(dataDir, Options{Sources: []Source{Dir(set.dir)}})
			if err := s.EnsureSystemFiles(t.Context()); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), link) {
				t.Errorf("got error %v, want that %s is unsafe", err, link)
			}
			if names, err := os.ReadDir(outside); err != nil || len(names) != 0 {
				t.Fatalf("%v were written outside, error %v", names, err)
			}
		})
	}
}

func TestLinksOfLatestThatLeadNowhere(t *testing.T) {
	for target, want := range map[string]error{
		"1700000000": fs.ErrNotExist, "latest": ErrUnsafe, "../..": ErrUnsafe, "etc": ErrUnsafe,
	} {
		dataDir := t.TempDir()
		folder := filepath.Join(dataDir, "system/initrd", GetArch())
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(folder, "latest")); err != nil {
			t.Fatal(err)
		}
		if path, err := NewStore(dataDir, Options{}).GetInitrdPath(); !errors.Is(err, want) {
			t.Errorf("latest -> %s: got %q, error %v, want %v", target, path, err, want)
		}
	}
}

func TestReadOnlyUsers(t *testing.T) {
	set := makeSet(t, 1)
	s := install(t, set)
	if err := s.SetLatest(t.Context(), set.id); err != nil {
		t.Fatal(err)
	}
	readOnly := NewStore(s.dataDir, Options{SetID: set.id, fault: func(string, string) error { return fs.ErrPermission }})
	if err := readOnly.EnsureSystemFiles(t.Context()); err != nil {
		t.Error(err)
	}
	held, err := readOnly.Hold(t.Context(), set.id, "")
	if err != nil {
		t.Fatal(err)
	}
	wantSet(t, held.Set, set)
	if err := held.Close(); err != nil {
		t.Error(err)
	}
	// Without its record a file is read, and used all the same.
	if err := os.Remove(filepath.Join(s.dataDir, "system", recordPath(location(GetArch(), set.file(bundle.Kernel))))); err != nil {
		t.Fatal(err)
	}
	if _, err := readOnly.Resolve(t.Context(), set.id, ""); err != nil {
		t.Error(err)
	}
}
