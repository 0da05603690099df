package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

func TestCommand(t *testing.T) {
	tests := []struct {
		name     string
		start    *guestpb.ExecStart
		base     []string
		wantPath string
		wantArgs []string
		wantEnv  []string
	}{
		{
			name:     "base",
			start:    &guestpb.ExecStart{Command: []string{"/x", "a"}},
			base:     []string{"B=1", "A=x=y", "odd", "B=2", "EMPTY="},
			wantPath: "/x", wantArgs: []string{"/x", "a"}, wantEnv: []string{"A=x=y", "B=2", "EMPTY="},
		},
		{
			name:     "replaced",
			start:    &guestpb.ExecStart{Command: []string{"./x"}, Env: map[string]string{"A": "", "C": "3"}},
			base:     []string{"A=1", "B=2"},
			wantPath: "./x", wantArgs: []string{"./x"}, wantEnv: []string{"A=", "B=2", "C=3"},
		},
		{
			name:     "nothing",
			start:    &guestpb.ExecStart{},
			wantPath: "/bin/sh", wantArgs: []string{"/bin/sh"}, wantEnv: []string{},
		},
		{
			name:     "terminal",
			start:    &guestpb.ExecStart{Tty: true, Env: map[string]string{"LANG": "x"}},
			base:     []string{"TERM=dumb", "A=1"},
			wantPath: "/bin/sh", wantArgs: []string{"/bin/sh"},
			wantEnv: []string{"A=1", "COLORTERM=truecolor", "LANG=x", "LC_ALL=C.UTF-8", "TERM=xterm-256color"},
		},
		{
			name:     "user",
			start:    &guestpb.ExecStart{User: "4000000000"},
			base:     []string{"HOME=/root"},
			wantPath: "/bin/sh", wantArgs: []string{"/bin/sh"}, wantEnv: []string{"HOME=/"},
		},
		{
			name:     "user with a home",
			start:    &guestpb.ExecStart{User: "4000000000", Env: map[string]string{"HOME": "/x"}},
			base:     []string{"HOME=/root"},
			wantPath: "/bin/sh", wantArgs: []string{"/bin/sh"}, wantEnv: []string{"HOME=/x"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plan, err := newService(Options{Env: test.base}).plan(test.start)
			if err != nil {
				t.Fatal(err)
			}
			cmd := plan.cmd
			if cmd.Path != test.wantPath {
				t.Errorf("got path %q, want %q", cmd.Path, test.wantPath)
			}
			if diff := cmp.Diff(test.wantArgs, cmd.Args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.wantEnv, cmd.Env); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCommandWithoutPath(t *testing.T) {
	plan, err := newService(Options{}).plan(&guestpb.ExecStart{Command: []string{"sh"}})
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(plan.cmd.Path) || len(plan.cmd.Env) != 0 {
		t.Errorf("got path %q, environment %q, want a path of the default PATH, none", plan.cmd.Path, plan.cmd.Env)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"first", "second"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"first/plain": 0o644, "second/plain": 0o755, "first/both": 0o755, "second/both": 0o755, "second/owner": 0o100} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "first", "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "first"))
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	const notFound = `executable file not found in $PATH`
	tests := []struct{ name, search, want, wantErr string }{
		{"both", first + ":" + second, first + "/both", ""},
		{"both", second + ":" + first, second + "/both", ""},
		{"plain", first + ":" + second, second + "/plain", ""},
		{"owner", first + "::" + second, second + "/owner", ""},
		{"a/b", "", "a/b", ""},
		{"/none", first, "/none", ""},
		{"plain", first, "", `exec: "plain": ` + notFound},
		{"directory", first, "", `exec: "directory": ` + notFound},
		{"both", "", "", `exec: "both": ` + notFound},
		{"both", ".:", "", `exec: "both": ` + notFound},
		{"", first, "", `exec: "": ` + notFound},
		{"a\"\n", first, "", `exec: "a\"\n": ` + notFound},
	}
	for _, test := range tests {
		got, err := lookPath(test.name, test.search)
		var text string
		if err != nil {
			text = err.Error()
		}
		if got != test.want || text != test.wantErr {
			t.Errorf("lookPath(%q, %q) = %q, %q, want %q, %q", test.name, test.search, got, text, test.want, test.wantErr)
		}
	}
}

func TestCheckDir(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ dir, want string }{
		{"", ""},
		{"/", ""},
		{".", ""},
		{file, "chdir " + file + ": not a directory"},
		{file + "/x", "chdir " + file + "/x: not a directory"},
		{"/kindling/none", "chdir /kindling/none: no such file or directory"},
		{"a\x00b", "chdir a\x00b: invalid argument"},
	}
	for _, test := range tests {
		var got string
		if err := checkDir(test.dir); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("checkDir(%q) = %q, want %q", test.dir, got, test.want)
		}
	}
}

func TestClip(t *testing.T) {
	if got := clip("short"); got != "short" {
		t.Errorf("got %q, want it unchanged", got)
	}
	got := clip("a" + strings.Repeat("\u00e4", 1<<20)) // the limit is within a character
	if len(got) > 9000 || !utf8.ValidString(got) || !strings.HasSuffix(got, "\u00e4...") {
		t.Errorf("got %d bytes, valid %v, want less than 9000, valid", len(got), utf8.ValidString(got))
	}
}
