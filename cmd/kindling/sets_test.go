package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

func TestSetHelp(t *testing.T) {
	h := newSetHost(t)
	for _, verb := range []string{"install", "ls", "resolve", "paths", "verify", "gc", "pull", "push", "doctor"} {
		compareGolden(t, filepath.Join(h.testdata, "..", "help_"+verb+".txt"), 0, kindling(verb, "--help"))
	}
	compareGolden(t, filepath.Join(h.testdata, "..", "help_exit-codes.txt"), 0, kindling("help", "exit-codes"))
}

func TestSetUsage(t *testing.T) {
	const id = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"install"}, "got no SOURCE; --source and KINDLING_SOURCE name one as well"},
		{[]string{"install", id}, "got no SOURCE; --source and KINDLING_SOURCE name one as well"},
		{[]string{"install", "set", "set"}, "accepts at most 1 arg(s), received 2"},
		{[]string{"install", "--set", "latest", "set"}, `artifact set "latest": want sha256: and 64 lower-case hexadecimal digits`},
		{[]string{"install", "--source", "set", "--set", strings.Replace(id, "0", "1", 1), id},
			"--set is " + strings.Replace(id, "0", "1", 1) + ", and " + id + " is to be installed"},
		{[]string{"install", "--arch", "riscv64", "set"}, `--arch is "riscv64", want x86_64 or aarch64`},
		{[]string{"install", "--progress", "loud", "set"}, `--progress is "loud", want auto, plain, json or quiet`},
		{[]string{"install", "-o", "yaml", "set"}, `--output is "yaml", want table or json`},
		{[]string{"ls", "set"}, `unknown command "set" for "kindling ls"`},
		{[]string{"resolve"}, `got [], want ID or latest`},
		{[]string{"resolve", "newest"}, `artifact set "newest": want latest, or sha256: and 64 lower-case hexadecimal digits`},
		{[]string{"paths", "--arch", "arm", "latest"}, `--arch is "arm", want x86_64 or aarch64`},
		{[]string{"verify", "sha256:0"}, `artifact set "sha256:0": want latest, or sha256: and 64 lower-case hexadecimal digits`},
		{[]string{"gc", "--root", "latest"}, `artifact set "latest": want sha256: and 64 lower-case hexadecimal digits`},
		{[]string{"gc", "--grace", "-1s"}, "--grace is -1s, want a positive time or 0s"},
		{[]string{"pull", "a/b"}, `got ["a/b"], want REFERENCE FOLDER`},
		{[]string{"push", "a/b"}, `got ["a/b"], want FOLDER REFERENCE`},
		{[]string{"doctor", "-o", "id"}, `--output is "id", want table or json`},
	}
	for _, test := range tests {
		newSetHost(t)
		if diff := cmp.Diff(result{2, "", "kindling: " + test.want + "\n"}, kindling(test.args...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestInstalledSet(t *testing.T) {
	h := newSetHost(t)
	h.golden(t, "ls_empty.txt", 0, "", "ls")
	h.golden(t, "ls_empty.json", 0, "", "ls", "-o", "json")
	h.golden(t, "install.json", 0, "", "install", "-o", "json", "--progress", "quiet", "--arch", both, "set")
	h.golden(t, "install_again.json", 0, "", "install", "-o", "json", "--progress", "quiet", "--arch", both, "set")
	const present = "kindling: artifact set is already present\n"
	h.golden(t, "id.txt", 0, present, "install", "--arch", both, "set")
	h.golden(t, "id.txt", 0, present, "install", "--arch", both, "--source", "set", h.set.id)
	h.golden(t, "ls.txt", 0, "", "ls")
	h.golden(t, "ls.json", 0, "", "ls", "-o", "json")
	h.golden(t, "id.txt", 0, "", "resolve", "--arch", "x86_64", "latest")
	h.golden(t, "id.txt", 0, "", "resolve", "--arch", "aarch64", h.set.id)
	h.golden(t, "resolve.json", 0, "", "resolve", "-o", "json", "--arch", "x86_64", "latest")
	h.golden(t, "paths.txt", 0, "", "paths", "--arch", "x86_64", "latest")
	h.golden(t, "paths.json", 0, "", "paths", "--arch", "aarch64", "-o", "json", h.set.id)
	h.golden(t, "verify.txt", 0, "", "verify")
	h.golden(t, "verify.json", 0, "", "verify", "-o", "json", "latest")
	h.golden(t, "gc_keep.txt", 0, "", "gc", "--grace", "0s")
}

func TestInstallLeavesLatest(t *testing.T) {
	h := newSetHost(t)
	must(t, "install", "--arch", both, "set")
	other := writeSet(t, "other", "two")
	if got := must(t, "install", "--arch", both, "--no-latest", "other"); got != other.id+"\n" {
		t.Errorf("installed %q, want %s", got, other.id)
	}
	if got := must(t, "resolve", "--arch", "x86_64", "latest"); got != h.set.id+"\n" {
		t.Errorf("latest is %q, want %s", got, h.set.id)
	}
	must(t, "install", "--arch", both, "other")
	if got := must(t, "resolve", "--arch", "x86_64", "latest"); got != other.id+"\n" {
		t.Errorf("latest is %q, want %s", got, other.id)
	}
}

func TestInstallProgress(t *testing.T) {
	for _, test := range []struct{ how, want string }{
		{"plain", "kindling: x86_64/initrd: 14 bytes\n"},
		{"auto", "kindling: artifact set installed, 3 files, "},
		{"json", `{"file":"x86_64/initrd","done":14,"total":14}` + "\n"},
	} {
		newSetHost(t)
		got := kindling("install", "--progress", test.how, "--arch", "x86_64", "set")
		if got.Code != 0 || !strings.Contains(got.Stderr, test.want) {
			t.Errorf("%s: got %+v, want %q on stderr", test.how, got, test.want)
		}
		for line := range strings.Lines(got.Stderr) {
			if test.how == "json" && !json.Valid([]byte(line)) {
				t.Errorf("got line %q, want JSON", line)
			}
		}
	}
}

func TestSetFails(t *testing.T) {
	h := newSetHost(t)
	must(t, "install", "--arch", "x86_64", "set")
	writeFile(t, "liar/manifest.json", []byte("{}"))
	other := writeSet(t, "wrong", "two")
	writeFile(t, "wrong/x86_64/initrd", []byte("ten bytes!"))
	x86 := &bundle.Manifest{Version: bundle.Version, AgentProtocol: "test", Architectures: []bundle.Architecture{{Arch: "x86_64"}}}
	for _, kind := range []bundle.Kind{bundle.Kernel, bundle.Initrd} {
		writeFile(t, "one-arch/"+string(kind), []byte(kind))
		file, err := bundle.Describe(os.DirFS("one-arch"), kind, string(kind))
		if err != nil {
			t.Fatal(err)
		}
		x86.Architectures[0].Files = append(x86.Architectures[0].Files, file)
	}
	writeManifest(t, "one-arch", x86)
	none := "sha256:" + strings.Repeat("0", 64)
	tests := []struct {
		name string
		code int
		want string
		args []string
	}{
		{"no source", 3, "open source: stat none: no such file or directory", []string{"install", "none"}},
		{"another set", 5, "it has artifact set " + h.set.id + ", want " + none, []string{"install", "--set", none, "set"}},
		{"no manifest in the source", 5, "manifest has version 0, want 1", []string{"install", "liar"}},
		{"wrong bytes in the source", 5, "get x86_64/initrd from wrong: it has 10 bytes, want 14", []string{"install", "--arch", "x86_64", "wrong"}},
		{"not for the architecture", 8, "get manifest.json from one-arch: unsupported architecture: it has nothing for aarch64", []string{"install", "--arch", "aarch64", "one-arch"}},
		{"scheme", 2, "want https://HOST/FOLDER", []string{"install", "ftp://host/set"}},
		{"no key", 3, "read key: open keys.pem: no such file or directory", []string{"install", "--key", "keys.pem", "set"}},
		{"unpinned", 4, "neither digest nor set ID nor signature says which bytes are wanted", []string{"install", "oci://localhost:1/a:b"}},
		{"nothing to push", 3, "open manifest", []string{"push", "none", "localhost:1/a:b"}},
		{"resolve what is not there", 3, "artifact set " + none + " is not installed: get it with kindling install " + none, []string{"resolve", none}},
		{"resolve for another architecture", 3, "not complete for aarch64, it lacks", []string{"resolve", "--arch", "aarch64", h.set.id}},
		{"pull without a reference", 2, "parse reference", []string{"pull", "A B", "folder"}},
		{"push without a reference", 2, "parse reference", []string{"push", "set", "A B"}},
		{"install without a reference", 2, "parse reference", []string{"install", "oci://A B"}},
		{"mirror", 2, "mirror", []string{"install", "--mirror", "A B", "oci://localhost:1/a:b"}},
		{"verify what is not there", 3, "artifact set " + other.id + " is not installed", []string{"verify", other.id}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := kindling(append(test.args, "--output", "table")...)
			if got.Code != test.code || got.Stdout != "" && test.args[0] != "verify" || !strings.Contains(got.Stderr, test.want) {
				t.Errorf("got %+v, want code %d and %q", got, test.code, test.want)
			}
		})
	}
	t.Run("nothing installed", func(t *testing.T) {
		t.Setenv("KINDLING_DATA_DIR", filepath.Join(t.TempDir(), "none"))
		got := kindling("resolve", "latest")
		if got := kindling("verify"); got.Code != 3 {
			t.Errorf("verify: got %+v, want code 3", got)
		}
		want := result{3, "", "kindling: find latest artifact set: no artifact set is installed: install one with kindling install\n"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestCorruptSet(t *testing.T) {
	h := newSetHost(t)
	must(t, "install", "--arch", both, "set")
	path := h.damage(t, bundle.Initrd)
	got := kindling("verify")
	if got.Code != 4 || !strings.Contains(got.Stderr, path+" is corrupt: ") || !strings.Contains(got.Stdout, "corrupt   "+path+"\n") {
		t.Errorf("verify: got %+v, want code 4 and the name of the file", got)
	}
	if got := kindling("verify", "-o", "json"); got.Code != 3 || !strings.Contains(got.Stdout, `"status": "missing"`) {
		t.Errorf("verify again: got %+v, want code 3", got)
	}
	if got := kindling("ls"); got.Code != 0 || !strings.Contains(got.Stdout, "aarch64  linux-6.1.0-50-cloud  ") {
		t.Errorf("ls: got %+v, want one architecture left", got)
	}
	if got := kindling("verify", "--source", "set"); got.Code != 0 || !strings.Contains(got.Stdout, "repaired  "+path+"\n") {
		t.Errorf("verify with source: got %+v", got)
	}
	h.damage(t, bundle.Initrd)
	if got := kindling("ls"); got.Code != 4 || !strings.Contains(got.Stderr, path+" is corrupt: ") || !strings.Contains(got.Stdout, h.set.id) {
		t.Errorf("ls: got %+v, want code 4", got)
	}
	if got := kindling("install", "-o", "json", "--arch", both, "set"); got.Code != 0 || !strings.Contains(got.Stdout, path) {
		t.Errorf("install: got %+v, want it to fetch %s", got, path)
	}
}

func TestGC(t *testing.T) {
	h := newSetHost(t)
	must(t, "install", "--arch", both, "set")
	other := writeSet(t, "other", "two")
	must(t, "install", "--arch", both, "other")
	h.golden(t, "gc_grace.txt", 0, "", "gc")
	h.golden(t, "gc_root.json", 0, "", "gc", "-o", "json", "--grace", "0s", "--root", h.set.id)
	h.golden(t, "gc_dry.txt", 0, "", "gc", "--grace", "0s", "--dry-run")
	must(t, "resolve", "--arch", "x86_64", h.set.id)
	h.golden(t, "gc.txt", 0, "", "gc", "--grace", "0s")
	if got := kindling("resolve", h.set.id); got.Code != 3 {
		t.Errorf("resolve: got %+v, want code 3", got)
	}
	must(t, "resolve", "--arch", "x86_64", other.id)
}

func TestDataDir(t *testing.T) {
	t.Setenv("HOME", "/home/user")
	tests := []struct {
		named, xdg string
		uid        int
		want       string
	}{
		{"/srv/sets", "/xdg", 0, "/srv/sets"},
		{"", "/xdg", 0, "/var/lib/kindling"},
		{"", "/xdg", 1000, "/xdg/kindling"},
		{"", "relative", 1000, "/home/user/.local/share/kindling"},
		{"", "", 1000, "/home/user/.local/share/kindling"},
	}
	for _, test := range tests {
		t.Setenv("XDG_DATA_HOME", test.xdg)
		if got, err := dataDir(test.named, test.uid); got != test.want || err != nil {
			t.Errorf("dataDir(%q, %d) with %q = %q, %v, want %q", test.named, test.uid, test.xdg, got, err, test.want)
		}
	}
}

func TestSetExitCode(t *testing.T) {
	corrupt := &system.CorruptError{Path: "a"}
	missing := &system.NotInstalledError{}
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"nothing known", os.ErrInvalid, exitFailed},
		{"missing", missing, exitNotThere},
		{"corrupt and missing", errors.Join(missing, corrupt), exitNotVerified},
		{"storage", &system.StorageError{Err: os.ErrNotExist}, exitStorage},
		{"source", &system.SourceError{Err: os.ErrInvalid}, exitSource},
		{"source without it", &system.SourceError{Err: os.ErrNotExist}, exitNotThere},
		{"unsafe", system.ErrUnsafe, exitNotVerified},
		{"busy", registry.ErrBusy, exitBusy},
		{"no signature", ofRegistry(signature.ErrMissing), exitNotVerified},
		{"registry", ofRegistry(os.ErrInvalid), exitSource},
		{"folder of a pull", ofRegistry(&os.PathError{Err: os.ErrPermission}), exitFailed},
		{"version", system.ErrUnsupportedVersion, exitUnsupported},
		{"architecture", ofRegistry(bundle.ErrUnsupportedArch), exitUnsupported},
	}
	for _, test := range tests {
		if got := setExitCode(test.err); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
