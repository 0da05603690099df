package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/internal/execlog"
)

const goldenText = `cause 1, in 2 actions: environment variable USER
  in A:  nothing
  in B:  "bob"
  first: GoCompilePkg //lib:lib bazel-out/lib.a
cause 2, in 1 action: input lib/lib.go
  in A:  "source"
  in B:  "source 2"
  first: GoCompilePkg //lib:lib bazel-out/lib.a
different only as a consequence: 1 action
only in B: 1 action
  TestRunner //cmd:cmd_test bazel-out/test.xml (attempt 2)
restricted: 1 action
  GoLink //cmd:cmd bazel-out/cmd: not remotable
A: 3 actions, 3 may be shared: 0 from a cache, 3 not, 0.0 % (linux-sandbox 3)
B: 4 actions, 4 may be shared: 1 from a cache, 3 not, 25.0 % (linux-sandbox 3, remote cache hit 1)
`

const goldenJSON = `{
  "equal": false,
  "causes": [
    {
      "kind": "input",
      "name": "lib/<lib>.go",
      "a": null,
      "b": "source",
      "actions": [
        {
          "mnemonic": "GoCompilePkg",
          "label": "//lib:lib",
          "output": "bazel-out/lib.a"
        }
      ]
    }
  ],
  "consequences": 0,
  "onlyInA": [],
  "onlyInB": [],
  "restricted": [],
  "a": {
    "actions": 3,
    "shared": 3,
    "hits": 0,
    "misses": 3,
    "ratio": 0,
    "runners": {
      "linux-sandbox": 3
    }
  },
  "b": {
    "actions": 3,
    "shared": 3,
    "hits": 3,
    "misses": 0,
    "ratio": 1,
    "runners": {
      "remote cache hit": 3
    }
  }
}
`

func TestRun(t *testing.T) {
	a := writeLog(t, "a.json", build())

	equal := build()
	hit(equal)
	equalB := writeLog(t, "equal.json", equal)

	differ := build()
	changed(differ, "source", "source 2")
	changed(differ, "bytes of //lib:lib", "bytes 2 of //lib:lib")
	changed(differ, "bytes of //cmd:cmd", "bytes 2 of //cmd:cmd")
	for _, spawn := range differ[:2] {
		spawn.Env = append(spawn.Env, execlog.Variable{Name: "USER", Value: "bob"})
	}
	differ[1].Remotable = false
	differ = append(differ, differ[2])
	hit(differ[:1])
	withoutPolicy := build()
	withoutPolicy[1].Remotable = false
	differA := writeLog(t, "differ-a.json", withoutPolicy)
	differB := writeLog(t, "differ-b.json", differ)

	more := build()
	hit(more)
	more[0].Inputs = append(more[0].Inputs, file("lib/<lib>.go", "source"))
	moreB := writeLog(t, "more.json", more)

	empty := writeLog(t, "empty.json", nil)
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"mnemonic": "M"} }`), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing.json")

	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"equal", []string{a, equalB}, 0, `A: 3 actions, 3 may be shared: 0 from a cache, 3 not, 0.0 % (linux-sandbox 3)
B: 3 actions, 3 may be shared: 3 from a cache, 0 not, 100.0 % (remote cache hit 3)
the builds are equal
`, ""},
		{"different", []string{differA, differB}, 1, goldenText, ""},
		{"JSON", []string{"-o", "json", a, moreB}, 1, goldenJSON, ""},
		{"names from the caller's folder", []string{"a.json", a}, 0, `A: 3 actions, 3 may be shared: 0 from a cache, 3 not, 0.0 % (linux-sandbox 3)
B: 3 actions, 3 may be shared: 0 from a cache, 3 not, 0.0 % (linux-sandbox 3)
the builds are equal
`, ""},
		{"help", []string{"--help"}, 0, usage, ""},
		{"one log", []string{a}, 2, "", "cachecheck: got 1 logs, want 2\n"},
		{"unknown format", []string{"-o", "xml", a, a}, 2, "", `cachecheck: output format "xml" is neither text nor json
`},
		{"unknown flag", []string{"-x", a, a}, 2, "", "flag provided but not defined: -x\n" + usage +
			"cachecheck: flag provided but not defined: -x\n"},
		{"no such log", []string{a, missing}, 2, "", "cachecheck: open log: open " + missing +
			": no such file or directory\n"},
		{"malformed log", []string{a, bad}, 2, "", "cachecheck: read log " + bad +
			": read entry 2 at byte 18: invalid character '}' looking for beginning of value\n"},
		{"empty log", []string{a, empty}, 2, "", "cachecheck: read log " + empty +
			": it has no actions: its build had all outputs already\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := exitCode(run(test.args, filepath.Dir(a), &stdout, &stderr), &stderr)
			if code != test.code {
				t.Errorf("exit code is %d, want %d", code, test.code)
			}
			if diff := cmp.Diff(test.stdout, stdout.String()); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.stderr, stderr.String()); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRunWriteError checks that a report that is not written is no answer.
func TestRunWriteError(t *testing.T) {
	a := writeLog(t, "a.json", build())
	full := errors.New("disk is full")
	for _, format := range []string{"text", "json"} {
		err := run([]string{"-o", format, a, a}, "", brokenWriter{full}, nil)
		if !errors.Is(err, full) || exitCode(err, &bytes.Buffer{}) != 2 {
			t.Errorf("%s: got error %v, want %v", format, err, full)
		}
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// TestTextLimits checks that what the text leaves out is counted.
func TestTextLimits(t *testing.T) {
	b := build()
	for i := range maxListed + 2 {
		b[0].Env = append(b[0].Env, execlog.Variable{Name: fmt.Sprintf("V%02d", i), Value: strings.Repeat("x", maxValue)})
		b = append(b, spawn("M", fmt.Sprintf("//:%02d", i), "out"))
	}
	var text bytes.Buffer
	if err := compareLogs(t, build(), b).text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cause 20, in 1 action: environment variable V19\n",
		"  in B:  \"" + strings.Repeat("x", 99) + "...(2 bytes)..." + strings.Repeat("x", 99) + "\"\n",
		"\n2 more causes not shown; -o json has all\nonly in B: 22 actions\n",
		"  M //:19 out\n  and 2 more; -o json has all\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text has no %q:\n%s", want, text.String())
		}
	}
}

func TestExitCode(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{flag.ErrHelp, 0},
		{errDiffer, 1},
		{errors.New("other"), 2},
		{errors.Join(errors.New("other")), 2},
	}
	for _, test := range tests {
		if got := exitCode(test.err, &bytes.Buffer{}); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
}

// FuzzCompare checks what holds for all logs: a log equals itself, two of them
// compare the same in both directions, and the text is the same each time.
func FuzzCompare(f *testing.F) {
	const one = `{"mnemonic": "M", "listedOutputs": ["o"], "actualOutputs": [{"path": "o", "digest": {"hash": "1", "sizeBytes": "1"}}]}`
	f.Add(one, one+`{"mnemonic": "N", "inputs": [{"path": "o"}]}`)
	f.Add(one, strings.ReplaceAll(one, "1", "2"))
	f.Add(one, `{"mnemonic": "M", "listedOutputs": ["o"], "commandArgs": ["a"], "environmentVariables": [{"name": "V"}]}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		compare := func(a, b string) (*report, error) {
			c := newComparison()
			if err := addAll(strings.NewReader(a), c.addA); err != nil {
				return nil, err
			}
			if err := addAll(strings.NewReader(b), c.addB); err != nil {
				return nil, err
			}
			return c.report(), nil
		}
		there, err := compare(a, b)
		if err != nil {
			return
		}
		back, err := compare(b, a)
		if err != nil {
			t.Fatalf("other direction: %v", err)
		}
		if there.Equal != back.Equal || there.Consequences != back.Consequences ||
			len(there.Causes) != len(back.Causes) {
			t.Errorf("A to B is %+v, B to A is %+v", there, back)
		}
		self, err := compare(a, a)
		if err != nil || !self.Equal {
			t.Errorf("compared to itself: %+v, %v", self, err)
		}
		again, err := compare(a, b)
		if err != nil {
			t.Fatal(err)
		}
		var first, second bytes.Buffer
		if err := errors.Join(there.text(&first), again.text(&second)); err != nil {
			t.Fatal(err)
		}
		if first.String() != second.String() {
			t.Errorf("texts are not the same:\n%s\n%s", &first, &second)
		}
	})
}
