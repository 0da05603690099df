package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const editedProgram = "package main\n\nfunc main() {\n\tprintln(\"init: not started as PID 1 of a guest\")\n}\n"

func TestEdit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(name, []byte(editedProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := readEditable(name)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{editedProgram: true}
	for range 3 {
		if err := file.edit(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		content := string(data)
		if seen[content] {
			t.Errorf("content was there before:\n%s", content)
		}
		seen[content] = true
		if _, err := parser.ParseFile(token.NewFileSet(), name, data, parser.SkipObjectResolution); err != nil {
			t.Errorf("edit does not compile: %v", err)
		}
		lines, want := strings.Split(content, "\n"), strings.Split(editedProgram, "\n")
		lines[3], want[3] = "", ""
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("other lines (-want +got):\n%s", diff)
		}
	}
}

func TestReadEditableErrors(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"none", "package main\n", "0 times, want once"},
		{"two", editedProgram + editedProgram, "2 times, want once"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(name, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readEditable(name); err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("error %v, want one with %s", err, test.want)
			}
		})
	}
	if _, err := readEditable(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error for a file that is not there")
	}
}

// TestEditFigure edits before each build but the one that has nothing to do.
func TestEditFigure(t *testing.T) {
	f := editFigure(&editable{}, []string{"bazel"}, "clone", "init")
	var edited []bool
	for _, c := range f.contenders {
		edited = append(edited, c.prepare != nil)
	}
	if diff := cmp.Diff([]bool{true, false, true}, edited); diff != "" {
		t.Errorf("edited (-want +got):\n%s", diff)
	}
	got, err := f.summarize(rows{
		{Name: "bazel, initrd", Unit: "s", Values: []float64{4}},
		{Name: "bazel, nothing changed", Unit: "s", Values: []float64{1.6}},
		{Name: "go build, init", Unit: "s", Values: []float64{2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []verdict{
		{Text: "time of bazel, initrd / go build, init", Bound: 2, Got: spreadOf([]float64{2}), Met: true},
		{Text: "time of bazel, nothing changed, s", Bound: 1.5, Got: spreadOf([]float64{1.6})},
	}
	if diff := cmp.Diff(want, got.Levels); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
}
