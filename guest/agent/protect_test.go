package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// place makes empty files, and the folders above them.
func place(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantText(t *testing.T, file, want string) {
	t.Helper()
	if got, err := os.ReadFile(file); string(got) != want || err != nil {
		t.Errorf("%s: got %q, %v, want %q", file, got, err, want)
	}
}

// TestProtect has plain files where the kernel has its own, which in a cgroup
// appear with the folder.
func TestProtect(t *testing.T) {
	files := []string{"cgroup.subtree_control", "agent/memory.max", "agent/cgroup.procs", "self/oom_score_adj"}
	tests := []struct {
		name       string
		files      []string
		noGroups   bool
		wantGroup  bool
		wantScored bool
		wantErr    string // of each line, how it ends
	}{
		{"all", files, false, true, true, ""},
		{"systemd's groups", files, true, false, true, ""},
		{"no cgroup2", files[3:], false, false, true, "cgroup.subtree_control: no such file or directory"},
		{"no limit of memory", []string{files[0], files[2], files[3]}, false, false, true, "memory.max: no such file or directory"},
		{"no way in", []string{files[0], files[1], files[3]}, false, false, true, "cgroup.procs: no such file or directory"},
		{"no /proc", files[:3], false, true, false, "oom_score_adj: no such file or directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			place(t, dir, test.files...)
			root := dir
			if test.noGroups {
				root = ""
			}
			got, problems := protect(root, dir)
			err := errors.Join(problems...)
			if (got.commands != nil) != test.wantGroup || got.scored != test.wantScored {
				t.Errorf("got %+v, want group %v, score %v", got, test.wantGroup, test.wantScored)
			}
			if (err == nil) != (test.wantErr == "") || err != nil && !strings.HasSuffix(err.Error(), test.wantErr) {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
			if got.scored {
				wantText(t, filepath.Join(dir, "self/oom_score_adj"), "-999")
			}
			if got.commands == nil {
				return
			}
			if got.commands.Name() != filepath.Join(dir, "exec") {
				t.Errorf("commands are in %s", got.commands.Name())
			}
			if err := got.commands.Close(); err != nil {
				t.Error(err)
			}
			wantText(t, filepath.Join(dir, "cgroup.subtree_control"), "+memory")
			wantText(t, filepath.Join(dir, "agent/cgroup.procs"), "0")
			limit, err := os.ReadFile(filepath.Join(dir, "agent/memory.max"))
			if err != nil {
				t.Fatal(err)
			}
			if bytes, err := strconv.ParseUint(string(limit), 10, 64); err != nil || bytes < 32<<20 {
				t.Errorf("memory.max: got %q, want bytes", limit)
			}
		})
	}
}
