package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
)

// installBootable installs a set of which the fake machine can run the base
// system, on both architectures. Sets with other initrds are other sets.
func installBootable(t *testing.T, initrd, release string) (id string) {
	t.Helper()
	dir := t.TempDir()
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol}
	for _, arch := range []string{"aarch64", "x86_64"} {
		info, err := (&bundle.KernelDescription{Version: bundle.KernelDescriptionVersion, Arch: arch, Release: release}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		a := bundle.Architecture{Arch: arch, CommandLine: "console=" + arch}
		for _, file := range []struct {
			kind bundle.Kind
			data []byte
		}{{bundle.Base, baseLayer(t)}, {bundle.Initrd, []byte(initrd)}, {bundle.Kernel, []byte("kernel for " + arch)}, {bundle.KernelInfo, info}} {
			a.Files = append(a.Files, writeSetFile(t, dir, file.kind, arch+"/"+string(file.kind), file.data))
		}
		m.Architectures = append(m.Architectures, a)
	}
	id = writeManifest(t, dir, m)
	must(t, "install", "--arch", both, dir)
	return id
}

// newBootHost is a machine with an empty data directory.
func newBootHost(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	t.Setenv("KINDLING_DATA_DIR", filepath.Join(t.TempDir(), "data"))
	return h
}

func TestRunInstalledSet(t *testing.T) {
	h := newBootHost(t)
	older := installBootable(t, "older", "6.1.0")
	newer := installBootable(t, "newer", "6.1.0")
	other := installBootable(t, "other", "6.2.0")
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string // ID
		arch string
	}{
		{"exact", nil, []string{"--set", older}, older, "x86_64"},
		{"latest", nil, []string{"--set", "latest"}, other, "x86_64"},
		{"kernel", nil, []string{"--kernel", "6.1.0"}, newer, "x86_64"},
		{"other arch", map[string]string{"KINDLING_ACCEL": "auto"}, []string{"--set", older, "--arch", "aarch64"}, older, "aarch64"},
		{"environment", map[string]string{"KINDLING_ARTIFACTS": "", "KINDLING_SET": older}, nil, older, "x86_64"},
		{"command line wins over environment", map[string]string{"KINDLING_SET": older}, []string{"--kernel", "6.2.0"}, other, "x86_64"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(serialEnv, exited("hi\r\n", 0))
			arguments := filepath.Join(t.TempDir(), "arguments")
			t.Setenv(argumentsEnv, arguments)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			got := kindling(append([]string{"run", "--name", "web"}, test.args...)...)
			if diff := cmp.Diff(result{0, "hi\n", ""}, got); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			if m := inspect(t, "web"); m.Set != test.want || m.Arch != test.arch {
				t.Errorf("got set %s for %s, want %s for %s", m.Set, m.Arch, test.want, test.arch)
			}
			set, err := system.NewStore(os.Getenv("KINDLING_DATA_DIR"), system.Options{}).Resolve(t.Context(), test.want, test.arch)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(arguments)
			if err != nil || !strings.Contains(string(text), "-kernel\n"+set.Kernel+"\n-initrd\n"+set.Initrd+"\n-append\nconsole="+test.arch+"\n") {
				t.Errorf("got arguments\n%s (%v)\nwant those of %+v", text, err, set)
			}
			h.programs.RequireGone(t)
		})
	}
}

// A set stays while its machine runs.
func TestRunKeepsSet(t *testing.T) {
	h := newBootHost(t)
	id := installBootable(t, "one", "6.1.0")
	latest := installBootable(t, "two", "6.1.0")
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, "bye\r\n"+sentinel(0, "success"))
	runDetached(t, "--set", id)
	gc := []string{"gc", "--grace", "0s", "-o", "json"}
	if out := must(t, gc...); !strings.Contains(must(t, "ls"), id) {
		t.Errorf("the set of a running machine is collected:\n%s", out)
	}
	must(t, "stop", "web")
	h.programs.AwaitGone(t)
	if out := must(t, gc...); strings.Contains(must(t, "ls"), id) {
		t.Errorf("the set of a machine that has ended is kept:\n%s", out)
	}
	if !strings.Contains(must(t, "ls"), latest) {
		t.Error("the latest set is collected")
	}
	h.requireReleased(t)
}

func TestRunSetFails(t *testing.T) {
	h := newBootHost(t)
	installBootable(t, "one", "6.1.0")
	id := "sha256:" + strings.Repeat("0", 64)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"set", []string{"--set", id}, "hold artifact set " + id + ": artifact set " + id + " is not installed: get it with kindling install " + id + "\n"},
		{"kernel", []string{"--kernel", "6.6.6"},
			"find artifact set: kernel 6.6.6 for x86_64 is not installed: install a set that has it, with kindling install\n"},
		{"kernel that is no name", []string{"--kernel", "../6"}, "kernel \"../6\": unsupported version\n"},
		{"no data directory", []string{"--data-dir", "/nonexistent", "--kernel", "6.1.0"},
			"find artifact set: kernel 6.1.0 for x86_64 is not installed: install a set that has it, with kindling install\n"},
		{"arch of manifest", []string{"--arch", "aarch64"}, "open artifact set " + os.Getenv("KINDLING_ARTIFACTS") + ": unsupported architecture: it has nothing for aarch64\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, more := range [][]string{nil, {"-d"}} {
				got := startUser(t, append(append([]string{"run"}, more...), test.args...)...).wait(t)
				if diff := cmp.Diff(result{exitOwn, "", "kindling: " + test.want}, got); diff != "" {
					t.Errorf("%q (-want +got):\n%s", more, diff)
				}
			}
			h.requireReleased(t)
		})
	}
}

func TestRunConsole(t *testing.T) {
	newHost(t)
	text := exited("hi\r\n", 7)
	t.Setenv(serialEnv, text)
	if diff := cmp.Diff(result{7, text, ""}, kindling("run", "--name", "web", "--console")); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{0, "hi\n", ""}, kindling("logs", "web")); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}
