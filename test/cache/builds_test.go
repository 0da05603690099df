//go:build vm

package cache

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/test/internal/nestedbazel"
)

const (
	initrd = "//system:initrd_x86_64"
	// base takes one action of ours, MkBase, beside those that make its tool.
	base     = "//system:busybox"
	baseFile = "bazel-bin/system/busybox.tar.gz"
)

// TestBuilds fills a cache as CI and builds from it as a developer, at another
// path, as another user and with another umask, then does to the cache what
// happens to caches.
func TestBuilds(t *testing.T) {
	bazel := nestedbazel.Find(t)
	cache := startServer(t)
	logs := t.TempDir()

	atCI := bazel.New(t, filepath.Join(t.TempDir(), "ci"))
	atCI.Flags = append([]string{"--config=remote", "--remote_upload_local_results"}, cache.flags(ci)...)
	first := filepath.Join(logs, "ci.json")
	build(t, atCI, initrd, "--execution_log_json_file="+first)

	developer := bazel.New(t, filepath.Join(t.TempDir(), "home of dev", "kindling"))
	developer.Prefix = []string{"/bin/sh", "-c", `umask 077 && exec unshare --user --map-user=1234 --map-group=1234 "$@"`, "sh"}
	developer.Flags = append([]string{"--config=remote"}, cache.flags(dev)...)
	second := filepath.Join(logs, "dev.json")
	build(t, developer, initrd, "--execution_log_json_file="+second)

	report := compare(t, first, second)
	if !report.Equal || report.B.Misses != 0 || report.B.Hits < 100 || report.B.Hits != report.A.Shared {
		t.Errorf("second build: equal %v, %d hits and %d misses, want %d hits", report.Equal, report.B.Hits, report.B.Misses, report.A.Shared)
	}
	log.Printf("second build: %d of %d actions that may be shared came from the cache", report.B.Hits, report.B.Shared)

	t.Run("developer uploads", func(t *testing.T) {
		before := entries(t, cache.dir)
		edit(t, filepath.Join(developer.Dir, "tools/mkbase/main.go"))
		output := build(t, developer, base, "--remote_upload_local_results")
		if !strings.Contains(output, "403") {
			t.Errorf("no word of the refusal:\n%s", output)
		}
		if diff := cmp.Diff(before, entries(t, cache.dir)); diff != "" {
			t.Errorf("cache has changed (-before +after):\n%s", diff)
		}
	})

	build(t, atCI, base)
	want := read(t, filepath.Join(atCI.Dir, baseFile))
	spawns := spawnsOf(t, atCI, base, logs)
	made := spawns["MkBase"]
	tool := spawns["GoLink"]
	action, output, program := filepath.Join(cache.dir, "ac", made.action), filepath.Join(cache.dir, "cas", made.output), filepath.Join(cache.dir, "cas", tool.output)
	// Each makes the last build's action necessary again, all of them where the
	// output base is cleaned.
	clean := func(t *testing.T) {
		if text, err := atCI.Run("clean"); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	for _, harm := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"result is garbage", func(t *testing.T) { clean(t); write(t, action, "garbage") }},
		{"result of another action", func(t *testing.T) {
			clean(t)
			write(t, action, string(read(t, filepath.Join(cache.dir, "ac", tool.action))))
		}},
		{"file is cut short", func(t *testing.T) { clean(t); write(t, output, string(want[:len(want)/2])) }},
		{"file has other bytes", func(t *testing.T) { clean(t); write(t, output, strings.Repeat("x", len(want))) }},
		{"file is evicted", func(t *testing.T) { clean(t); remove(t, output) }},
		{"tool is evicted before it is needed", func(t *testing.T) { clean(t); remove(t, action); remove(t, program) }},
		{"cache is down", func(t *testing.T) { cache.stop(t); remove(t, filepath.Join(atCI.Dir, baseFile)) }},
	} {
		t.Run(harm.name, func(t *testing.T) {
			harm.do(t)
			build(t, atCI, base)
			if got := read(t, filepath.Join(atCI.Dir, baseFile)); string(got) != string(want) {
				t.Errorf("built %d bytes, want the %d of before", len(got), len(want))
			}
		})
	}
}

func build(t *testing.T, w *nestedbazel.Workspace, args ...string) string {
	t.Helper()
	output, err := w.Run("build", args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return output
}

// comparison is what the test reads of cachecheck's report.
type comparison struct {
	Equal bool
	A, B  struct{ Hits, Misses, Shared int }
}

func compare(t *testing.T, a, b string) comparison {
	t.Helper()
	tool, err := runfiles.Rlocation(os.Getenv("CACHECHECK"))
	if err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command(tool, "-o", "json", a, b).Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		t.Fatalf("cachecheck: %v", err)
	}
	var report comparison
	if err := json.Unmarshal(output, &report); err != nil {
		t.Fatal(err)
	}
	if !report.Equal {
		t.Logf("cachecheck: %s", output)
	}
	return report
}

// spawn is an action that ran: its key and the digest of its first output.
type spawn struct{ action, output string }

// spawnsOf builds a target anew and gives the last action of each mnemonic.
func spawnsOf(t *testing.T, w *nestedbazel.Workspace, target, logs string) map[string]spawn {
	t.Helper()
	if text, err := w.Run("clean"); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	log := filepath.Join(logs, "spawns.json")
	build(t, w, target, "--execution_log_json_file="+log)
	file, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	spawns := map[string]spawn{}
	for decoder := json.NewDecoder(file); ; {
		var entry struct {
			Mnemonic      string
			Digest        struct{ Hash string }
			ActualOutputs []struct{ Digest struct{ Hash string } }
		}
		if err := decoder.Decode(&entry); err == io.EOF {
			return spawns
		} else if err != nil {
			t.Fatal(err)
		}
		if len(entry.ActualOutputs) > 0 {
			spawns[entry.Mnemonic] = spawn{entry.Digest.Hash, entry.ActualOutputs[0].Digest.Hash}
		}
	}
}

// edit changes a program's bytes.
func edit(t *testing.T, name string) {
	t.Helper()
	text := string(read(t, name))
	changed := strings.Replace(text, "mkbase: ", "mkbase (edited): ", 1)
	if changed == text {
		t.Fatalf("%s has nothing to edit", name)
	}
	write(t, name, changed)
}

// entries are the names of the files in the cache.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, kind := range []string{"ac", "cas"} {
		err := filepath.WalkDir(filepath.Join(dir, kind), func(path string, entry fs.DirEntry, err error) error {
			names = append(names, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	return names
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}
