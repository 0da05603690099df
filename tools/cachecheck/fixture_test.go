package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/tools/internal/execlog"
)

// build gives the log of a build of a library and a program with a test: the
// program links the library, and the test gets the program at a path that
// Bazel, not an action, has made.
func build() []*execlog.Spawn {
	library := spawn("GoCompilePkg", "//lib:lib", "bazel-out/lib.a",
		file("lib/lib.go", "source"), file("go/compile", "compiler"))
	program := spawn("GoLink", "//cmd:cmd", "bazel-out/cmd",
		file("bazel-out/lib.a", "bytes of //lib:lib"), file("go/link", "linker"))
	test := spawn("TestRunner", "//cmd:cmd_test", "bazel-out/test.xml",
		file("bazel-out/cmd.runfiles/cmd", "bytes of //cmd:cmd"))
	test.TimeoutMillis = "300000"
	return []*execlog.Spawn{library, program, test}
}

func spawn(mnemonic, label, output string, inputs ...execlog.File) *execlog.Spawn {
	return &execlog.Spawn{
		Args:            []string{"tool", "-o", output},
		Env:             []execlog.Variable{{Name: "PATH", Value: "/bin:/usr/bin"}},
		Inputs:          inputs,
		ListedOutputs:   []string{output},
		Outputs:         []execlog.File{file(output, "bytes of "+label)},
		Remotable:       true,
		Cacheable:       true,
		RemoteCacheable: true,
		TimeoutMillis:   "0",
		Mnemonic:        mnemonic,
		Label:           label,
		Runner:          "linux-sandbox",
		Key:             digest("key of " + label),
	}
}

func file(path, content string) execlog.File {
	return execlog.File{Path: path, Digest: digest(content)}
}

// digest stands for that of content, such that it can be read.
func digest(content string) execlog.Digest {
	return execlog.Digest{Hash: content, Size: "1"}
}

// hit makes what a build would have from a cache.
func hit(log []*execlog.Spawn) {
	for _, spawn := range log {
		spawn.Runner, spawn.CacheHit = "remote cache hit", true
	}
}

// writeLog writes a log as Bazel does, and gives its name.
func writeLog(t *testing.T, name string, log []*execlog.Spawn) string {
	t.Helper()
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	for _, spawn := range log {
		if err := encoder.Encode(spawn); err != nil {
			t.Fatal(err)
		}
	}
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// compareLogs compares logs without files.
func compareLogs(t *testing.T, a, b []*execlog.Spawn) *report {
	t.Helper()
	c := newComparison()
	for _, spawn := range a {
		if err := c.addA(spawn); err != nil {
			t.Fatal(err)
		}
	}
	for _, spawn := range b {
		if err := c.addB(spawn); err != nil {
			t.Fatal(err)
		}
	}
	return c.report()
}
