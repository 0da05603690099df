package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (b *fixture) ensureMods() (string, error) {
	return b.ensureModules(b.t.Context(), b.path("cache/kindling/closed"), "go1.2.3", "/usr/go")
}

func TestEnsureModules(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	t.Setenv("GOFLAGS", "-mod=vendor")
	t.Setenv("GOWORK", "/elsewhere/go.work")
	modules, err := b.ensureMods()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = filepath.WalkDir(modules, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if !entry.IsDir() || entry.Name() == "vendor" {
			got = append(got, strings.TrimPrefix(path, modules)+" "+info.Mode().String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/apple_support/BUILD.bazel -rw-------",
		"/apple_support/MODULE.bazel -rw-------",
		"/buildozer/BUILD.bazel -rw-------",
		"/buildozer/MODULE.bazel -rw-------",
		"/buildozer/buildozer_binary.bzl -rw-------",
		"/gazelle/def.bzl -rw-r--r--",
		"/gazelle/vendor drwxr-xr-x",
		"/go_host_compatible_sdk_label/BUILD.bazel -rw-------",
		"/go_host_compatible_sdk_label/MODULE.bazel -rw-------",
		"/go_host_compatible_sdk_label/defs.bzl -rw-------",
		"/protobuf/BUILD.bazel -rw-------",
		"/protobuf/MODULE.bazel -rw-------",
		"/rules_go/go/run.sh -rwxr-xr-x",
		"/zlib/BUILD.bazel -rw-------",
		"/zlib/MODULE.bazel -rw-------",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, call := range b.calls("go") {
		if version, ok := strings.CutPrefix(call, "mod download -json github.com/bazelbuild/"); ok &&
			version != "rules_go@v0.1.0" && version != "bazel-gazelle@v0.2.0" {
			t.Errorf("downloaded %s", version)
		}
	}
	for _, env := range b.calls("go-env") {
		if env != "-mod=mod off go1.2.3" {
			t.Errorf("go saw the user's settings: %s", env)
		}
	}

	calls := len(b.calls("go"))
	if again, err := b.ensureMods(); again != modules || err != nil || len(b.calls("go")) != calls {
		t.Errorf("second call: %s, %v", again, err)
	}
	b.write("ws/MODULE.bazel", strings.Replace(b.read("ws/MODULE.bazel"), "0.2.0", "0.3.0", 1))
	if other, err := b.ensureMods(); other == modules || err != nil {
		t.Errorf("other version: %s, %v", other, err)
	}
	b.write("ws/MODULE.bazel", "module()\n")
	if _, err := b.ensureMods(); err == nil || err.Error() != "MODULE.bazel has no bazel_dep on gazelle" {
		t.Errorf("without dependencies: %v", err)
	}
}

func TestEnsureModulesFails(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"unknown version", `printf '{"Error": "module lookup disabled"}'; exit 1`, "module lookup disabled"},
		{"go fails", `echo "go: no network" >&2; exit 1`, "go: no network"},
		{"nonsense", `echo what`, "parse go's answer"},
		{"vendoring", `case "$2" in vendor) echo "no go.sum entry" >&2; exit 1 ;; esac; printf '{"Dir": "%s"}' "$BENCH/mods/rules_go"`,
			"vendor gazelle's modules: go mod vendor: exit status 1: no go.sum entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFixture(t)
			b.closedWorld()
			b.fake("go", c.script)
			if _, err := b.ensureMods(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := b.folders("cache/kindling/closed", "modules-"); len(got) > 0 {
				t.Errorf("left %v", got)
			}
		})
	}
}

func TestGoSDK(t *testing.T) {
	b := newFixture(t)
	b.closedWorld()
	if version, sdk, err := b.goSDK(t.Context()); version != "go1.2.3" || sdk != "/usr/go" || err != nil {
		t.Errorf("got %q, %q, %v", version, sdk, err)
	}
	b.write("ws/go.mod", "module x\n\ngo 1.2.4\n")
	if _, _, err := b.goSDK(t.Context()); err == nil || err.Error() != "find Go SDK: got go1.2.3, go.mod wants go1.2.4" {
		t.Errorf("got %v", err)
	}
	b.write("ws/go.mod", "module x\n")
	if _, _, err := b.goSDK(t.Context()); err == nil || err.Error() != "go.mod has no go line" {
		t.Errorf("got %v", err)
	}
}

func TestStandInsQuote(t *testing.T) {
	got := standIns(`/home/o'b"r\ien`, "/usr/go")["buildozer"]["buildozer_binary.bzl"]
	hasAll(t, got, `export HOME='/home/o'\\''b\"r\\ien'`, "exec '/usr/go/bin/go' tool buildozer")
}

func TestRC(t *testing.T) {
	want := `# Made by tools/launcher. Modules that Debian packages:
common "--override_module=bazel_features=/usr/share/bazel/tools/features"
common "--override_module=bazel_skylib=/usr/share/bazel/tools/skylib"
common "--override_module=platforms=/usr/share/bazel/tools/platforms"
common "--override_module=rules_cc=/usr/share/bazel/rules/cc"
common "--override_module=rules_java=/usr/share/bazel/rules/java"
common "--override_module=rules_license=/usr/share/bazel/rules/license"
common "--override_module=rules_proto=/usr/share/bazel/rules/proto"
common "--override_module=rules_python=/usr/share/bazel/rules/python"
common "--override_module=rules_shell=/usr/share/bazel/rules/shell"
# Modules that the Go module proxy serves, and stand-ins:
common "--override_module=gazelle=/m \"x\\/gazelle"
common "--override_module=rules_go=/m \"x\\/rules_go"
common "--override_module=apple_support=/m \"x\\/apple_support"
common "--override_module=buildozer=/m \"x\\/buildozer"
common "--override_module=protobuf=/m \"x\\/protobuf"
common "--override_module=zlib=/m \"x\\/zlib"
# The machine's Go SDK in place of a download:
common --@rules_go//go/toolchain:sdk_version=host
common "--override_repository=rules_go~~go_sdk~go_host_compatible_sdk_label=/m \"x\\/go_host_compatible_sdk_label"
`
	if diff := cmp.Diff(want, rc(`/m "x\`, nil)); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

// Other digests mean that all users make their roots again.
func TestDigestIsStable(t *testing.T) {
	if got := digest("a", "b"); got != "59b271ae1bbc" {
		t.Errorf("got %s", got)
	}
	if digest("ab") == digest("a", "b") || digest("a", "b") == digest("b", "a") {
		t.Error("different parts have one digest")
	}
}

func TestKeepFile(t *testing.T) {
	b := newFixture(t)
	name, err := keepFile(b.dir, "it", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if again, err := keepFile(b.dir, "it", []byte("text")); again != name || err != nil {
		t.Errorf("got %s, %v", again, err)
	}
	if other, err := keepFile(b.dir, "it", []byte("other")); other == name || err != nil {
		t.Errorf("got %s, %v", other, err)
	}
	if got := b.folders("", "it-"); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}
