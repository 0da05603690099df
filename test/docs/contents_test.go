//go:build !vm

package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/signature"
)

// contents checks blocks that are no commands, by their first line.
var contents = map[string]func(t *testing.T, h *host, b block){
	// artifacts.md
	"# MODULE.bazel": starlark,
	// boot.md
	`2026-02-13T15:26:27Z [INFO] [hypeman-init:entrypoint] HYPEMAN-EXIT code=7 message="exit code 7"`: outcome,
	// how-it-works.md
	"system/artifacts.lock.json                     every byte that is not written here, by SHA-256": text,
	// migrate-from-hypeman.md
	"// before": fragment{from: "// after", imports: []string{"system"}, behind: "_ = m", params: "dataDir string"}.check,
	// quickstart.md, system.md
	"package main": program,
	// registry.md
	"registry.example/kindling/set@sha256:e018... sha256:354e...": text,
	`client := &registry.Client{Mirrors: []string{"mirror.example/cache"}}`: fragment{
		imports: []string{"context", "system/registry"}, params: "ctx context.Context", behind: "_, _ = got, err",
	}.check,
	"keys, err := signature.ParseKeys(pem)": fragment{
		imports: []string{"time", "system/bundle", "system/signature"}, params: "pem, data []byte, manifest *bundle.Manifest",
		behind: "_ = err",
	}.check,
	"-----BEGIN PUBLIC KEY-----": key,
	// remote-cache.md
	"build --config=remote --remote_cache=https://cache.example.org":                                                   bazelConfig,
	"--config=remote --remote_cache=https://cache.example.org --tls_client_certificate=ci.pem --tls_client_key=ci.key": bazelConfig,
	"cause 1, in 2 actions: environment variable USER":                                                                 text,
	// running.md
	`artifact set sha256:42ef... is not installed: get it with kindling install sha256:42ef...`: text,
	// snapshots.md
	"set, err := store.Resolve(ctx, id, \"\")": fragment{
		imports: []string{"context", "system"}, params: "ctx context.Context, store *system.Store, id string", behind: "_, _ = data, err",
	}.check,
	"{": snapshot,
	"recorded, err := system.ParseSnapshot(data)": fragment{
		imports: []string{"context", "system"}, params: "ctx context.Context, store *system.Store, data []byte", behind: "_ = err",
	}.check,
	// system.md
	`store := system.NewStore("/var/lib/vms", system.Options{Sources: []system.Source{system.Dir("/usr/lib/kindling/set")}})`: fragment{
		imports: []string{"context", "system"}, params: "ctx context.Context", behind: "_, _ = set, err",
	}.check,
	`{"version": 1, "setId", "arch", "kernelVersion", "kernelSha256", "initrdSha256", "commandLine", "agentProtocol",`: snapshotKeys,
	`source, err := new(registry.Client).Source("registry.example/kindling/set@sha256:e018...", registry.Want{})`: fragment{
		imports: []string{"context", "os", "system", "system/registry"}, params: "ctx context.Context", behind: "_, _ = installed, err",
	}.check,
	// wrenn.md
	`path, err := layout.Install(ctx, "/var/lib/wrenn", "6.1.102", sha256, kernel)`: fragment{
		imports: []string{"context", "io", "system/layout"}, params: "ctx context.Context, sha256 string, kernel io.Reader",
		behind: "_, _ = path, err",
	}.check,
}

// text is what a program prints, or a picture.
func text(*testing.T, *host, block) {}

// fragment is a part of a Go function.
type fragment struct {
	imports []string // of the standard library, or of ours by folder
	params  string   // what it has
	behind  string   // uses what it makes
	from    string   // line that it begins behind, for what stands before is another's
}

func (f fragment) check(t *testing.T, _ *host, b block) {
	t.Helper()
	var source strings.Builder
	source.WriteString("package snippet\n\nimport (\n") // which is not linked
	for _, name := range f.imports {
		if info, err := os.Stat(filepath.Join(root, name)); err == nil && info.IsDir() {
			name = "github.com/kindling-vm/kindling/" + name
		}
		fmt.Fprintf(&source, "\t%q\n", name)
	}
	code := b.text
	if f.from != "" {
		_, code, _ = strings.Cut(code, f.from)
	}
	fmt.Fprintf(&source, ")\n\nfunc _(%s) {\n%s\n%s\n}\n", f.params, code, f.behind)
	compile(t, filepath.Join(t.TempDir(), "program"), b, source.String())
}

// program builds a whole program and runs it in the host's folder, with the data
// directory.
func program(t *testing.T, h *host, b block) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	compile(t, name, b, b.text)
	if b.page == "docs/system.md" {
		h.run(t, "kindling install bazel-bin/system/bundle")
	}
	cmd := exec.Command(name, os.Getenv("KINDLING_DATA_DIR"))
	cmd.Dir = h.dir
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "console=ttyS0") {
		t.Errorf("%s:%d: got error %v and output without a command line: %s", b.page, b.line, err, out)
	}
}

// compile builds a program as if it stood in the tree.
func compile(t *testing.T, output string, b block, source string) {
	t.Helper()
	dir := t.TempDir()
	file, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	writeFile(t, file, []byte(source))
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(top, "snippet", "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, overlay, replace)
	t.Logf("%s:%d is built", b.page, b.line)
	build(t, output, "./snippet", "-overlay", overlay)
}

// outcome is an exit sentinel.
func outcome(t *testing.T, _ *host, b block) {
	t.Helper()
	if got, ok := contract.ParseExit(b.text); !ok || got != contract.NewExitInfo(7) {
		t.Errorf("%s:%d: got outcome %v, %v", b.page, b.line, got, ok)
	}
}

// snapshot is the record of one.
func snapshot(t *testing.T, _ *host, b block) {
	t.Helper()
	if _, err := system.ParseSnapshot([]byte(strings.ReplaceAll(b.text, "HEX", strings.Repeat("0", 64)))); err != nil {
		t.Errorf("%s:%d: %v", b.page, b.line, err)
	}
}

// snapshotKeys are the keys of such a record in their order.
func snapshotKeys(t *testing.T, _ *host, b block) {
	t.Helper()
	digest := strings.Repeat("0", 64)
	set := &system.Set{
		ID: "sha256:" + digest, KernelVersion: "1", AgentProtocol: "p", Arch: "x86_64", KernelSHA256: digest, InitrdSHA256: digest,
	}
	data, err := set.Snapshot("", system.Hypervisor{Name: "n", Version: "1"}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := keys(b.text), keys(string(data)); !slices.Equal(got, want) {
		t.Errorf("%s:%d: got keys %q, want %q", b.page, b.line, got, want)
	}
}

var recordKeys = []string{
	"version", "setId", "arch", "kernelVersion", "kernelSha256", "initrdSha256", "commandLine", "agentProtocol", "hypervisor", "name",
}

// keys are the words in quotes that can be keys.
func keys(text string) (found []string) {
	for i, word := range strings.Split(text, `"`) {
		if i%2 == 1 && slices.Contains(recordKeys, word) {
			found = append(found, word)
		}
	}
	return found
}

// key is a public key with a bound.
func key(t *testing.T, _ *host, b block) {
	t.Helper()
	if keys, err := signature.ParseKeys([]byte(b.text)); err != nil || len(keys) != 1 || keys[0].NotAfter.IsZero() {
		t.Errorf("%s:%d: got keys %v, error %v, want one that ends", b.page, b.line, keys, err)
	}
}

// starlark is a use of rules: each stands in a .bzl of the tree.
func starlark(t *testing.T, _ *host, b block) {
	t.Helper()
	text := readText(t, "tools/mkbase/defs.bzl") + readText(t, "tools/mkbase/oci_image.bzl")
	for _, rule := range []string{"oci_image", "oci_base"} {
		if !strings.Contains(b.text, rule+"(name") || !strings.Contains(text, rule+" = ") && !strings.Contains(text, "def "+rule+"(") {
			t.Errorf("%s:%d: rule %s is not there", b.page, b.line, rule)
		}
	}
}

// bazelConfig is a line of .bazelrc.user or of CI's command line.
func bazelConfig(t *testing.T, _ *host, b block) {
	t.Helper()
	if !strings.Contains(readText(t, ".bazelrc"), "build:remote ") {
		t.Errorf("%s:%d: .bazelrc has no config remote", b.page, b.line)
	}
}
