package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kindling-vm/kindling/tools/internal/execlog"
)

var (
	library = action{Mnemonic: "GoCompilePkg", Label: "//lib:lib", Output: "bazel-out/lib.a"}
	program = action{Mnemonic: "GoLink", Label: "//cmd:cmd", Output: "bazel-out/cmd"}
	test    = action{Mnemonic: "TestRunner", Label: "//cmd:cmd_test", Output: "bazel-out/test.xml"}
)

// changed makes a file of the log other than it was: everywhere, as a build
// does.
func changed(log []*execlog.Spawn, from, to string) {
	for _, spawn := range log {
		for _, files := range [][]execlog.File{spawn.Inputs, spawn.Outputs} {
			for i := range files {
				if files[i].Digest.Hash == from {
					files[i].Digest.Hash = to
				}
			}
		}
	}
}

func TestCompare(t *testing.T) {
	input := func(name string, a, b value) change { return change{kindInput, name, a, b} }
	none := value{}
	tests := []struct {
		name         string
		change       func(b []*execlog.Spawn) []*execlog.Spawn
		causes       []cause
		consequences int
		onlyA, onlyB []action
	}{
		{
			name:   "nothing",
			change: func(b []*execlog.Spawn) []*execlog.Spawn { return b },
		},
		{
			name:   "where it ran",
			change: func(b []*execlog.Spawn) []*execlog.Spawn { hit(b); return b },
		},
		{
			name: "order of variables and of inputs",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				slices.Reverse(b[0].Env)
				slices.Reverse(b[0].Inputs)
				return b
			},
		},
		{
			name: "a source, and all that is built from it",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				changed(b, "source", "source 2")
				changed(b, "bytes of //lib:lib", "bytes 2 of //lib:lib")
				changed(b, "bytes of //cmd:cmd", "bytes 2 of //cmd:cmd")
				b[2].Key = digest("another key")
				return b
			},
			causes:       []cause{{input("lib/lib.go", some("source"), some("source 2")), []action{library}}},
			consequences: 2,
		},
		{
			name: "a source without effect on the output",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				changed(b, "source", "source 2")
				return b
			},
			causes: []cause{{input("lib/lib.go", some("source"), some("source 2")), []action{library}}},
		},
		{
			name: "an action that does not make the same twice",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				changed(b, "bytes of //lib:lib", "bytes 2 of //lib:lib")
				return b
			},
			causes: []cause{{
				change{kindOutput, "bazel-out/lib.a", some("bytes of //lib:lib"), some("bytes 2 of //lib:lib")},
				[]action{library},
			}},
			consequences: 1,
		},
		{
			name: "an input that is not what its action made",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[1].Inputs[0] = file("bazel-out/lib.a", "edited")
				return b
			},
			causes: []cause{{input("bazel-out/lib.a", some("bytes of //lib:lib"), some("edited")), []action{program}}},
		},
		{
			name: "a variable in two actions",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Env = append(b[0].Env, execlog.Variable{Name: "USER"})
				b[1].Env = append(b[1].Env, execlog.Variable{Name: "USER"})
				b[1].Env[0].Value = "/bin"
				return b
			},
			causes: []cause{
				{change{kindEnv, "USER", none, some("")}, []action{library, program}},
				{change{kindEnv, "PATH", some("/bin:/usr/bin"), some("/bin")}, []action{program}},
			},
		},
		{
			name: "an argument",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Args = []string{"tool", "-out", "bazel-out/lib.a"}
				return b
			},
			causes: []cause{{change{kindArgument, "", some("-o"), some("-out")}, []action{library}}},
		},
		{
			name: "the same argument twice in an action",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Args = []string{"new", "-o", "new"}
				return b
			},
			causes: []cause{
				{change{kindArgument, "", some("bazel-out/lib.a"), some("new")}, []action{library}},
				{change{kindArgument, "", some("tool"), some("new")}, []action{library}},
			},
		},
		{
			name: "more arguments",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Args = []string{"tool", "-race", "-v", "-o", "bazel-out/lib.a"}
				return b
			},
			causes: []cause{{change{kindArgument, "", none, some("-race -v")}, []action{library}}},
		},
		{
			name: "a platform, a timeout, an output and caching",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Platform.Properties = []execlog.Variable{{Name: "cpu", Value: "2"}}
				b[0].ListedOutputs = append(b[0].ListedOutputs, "bazel-out/lib.x")
				b[0].RemoteCacheable = false
				b[2].TimeoutMillis = "60000"
				return b
			},
			causes: []cause{
				{change{kindCaching, "remoteCacheable", some("true"), some("false")}, []action{library}},
				{change{kindDeclared, "bazel-out/lib.x", none, some("")}, []action{library}},
				{change{kindPlatform, "cpu", none, some("2")}, []action{library}},
				{change{kindTimeout, "", some("300000 ms"), some("60000 ms")}, []action{test}},
			},
		},
		{
			name: "what is not in the log",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Key = digest("another key")
				return b
			},
			causes: []cause{{change{kindKey, "", some("key of //lib:lib"), some("another key")}, []action{library}}},
		},
		{
			name: "one without a cache",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Key = execlog.Digest{}
				return b
			},
		},
		{
			name: "failure",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[2].Status, b[2].ExitCode, b[2].Outputs = "NON_ZERO_EXIT", 1, nil
				return b
			},
			causes: []cause{{change{kindResult, "", some("success"), some("NON_ZERO_EXIT, exit code 1")}, []action{test}}},
		},
		{
			name: "an input more, and one less",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[0].Inputs = []execlog.File{file("lib/lib.go", "source"), {Path: "lib/empty.go"}}
				return b
			},
			causes: []cause{
				{input("go/compile", some("compiler"), none), []action{library}},
				{input("lib/empty.go", none, some("empty file")), []action{library}},
			},
		},
		{
			name: "an action more, of which another one uses the output",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[1].Inputs = append(b[1].Inputs, file("bazel-out/new.a", "bytes of //new:new"))
				return slices.Insert(b, 0, spawn("GoCompilePkg", "//new:new", "bazel-out/new.a"))
			},
			consequences: 1,
			onlyB:        []action{{Mnemonic: "GoCompilePkg", Label: "//new:new", Output: "bazel-out/new.a"}},
		},
		{
			name: "a new use of an old output",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[2].Inputs = append(b[2].Inputs, file("bazel-out/lib.a", "bytes of //lib:lib"))
				return b
			},
			causes: []cause{{input("bazel-out/lib.a", none, some("bytes of //lib:lib")), []action{test}}},
		},
		{
			name: "another configuration",
			change: func(b []*execlog.Spawn) []*execlog.Spawn {
				b[2].ListedOutputs = []string{"bazel-out/opt/test.xml"}
				return b
			},
			onlyA: []action{test},
			onlyB: []action{{Mnemonic: "TestRunner", Label: "//cmd:cmd_test", Output: "bazel-out/opt/test.xml"}},
		},
		{
			name:   "a second attempt",
			change: func(b []*execlog.Spawn) []*execlog.Spawn { return append(b, b[2]) },
			onlyB:  []action{{Mnemonic: "TestRunner", Label: "//cmd:cmd_test", Output: "bazel-out/test.xml", Attempt: 1}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := compareLogs(t, build(), test.change(build()))
			equal := len(test.causes)+test.consequences+len(test.onlyA)+len(test.onlyB) == 0
			want := &report{
				Equal:        equal,
				Causes:       test.causes,
				Consequences: test.consequences,
				OnlyInA:      test.onlyA,
				OnlyInB:      test.onlyB,
			}
			options := []cmp.Option{
				cmpopts.EquateEmpty(),
				cmpopts.IgnoreFields(report{}, "A", "B", "Restricted"),
				cmp.AllowUnexported(cause{}, value{}),
			}
			if diff := cmp.Diff(want, got, options...); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSummaryAndRestricted(t *testing.T) {
	a, b := build(), build()
	hit(b[:2])
	a[0].Remotable = false
	b[0].Remotable = false
	b[2].Remotable, b[2].Cacheable, b[2].RemoteCacheable = false, false, false
	b[1].RemoteCacheable = false
	got := compareLogs(t, a, b)
	want := []restricted{
		{program, []string{"not in a shared cache"}},
		{test, []string{"not remotable", "not cacheable"}},
		{library, []string{"not remotable"}},
	}
	if diff := cmp.Diff(want, got.Restricted, cmp.AllowUnexported(restricted{})); diff != "" {
		t.Errorf("restricted (-want +got):\n%s", diff)
	}
	all, none := 1.0, 0.0
	wantA := summary{Actions: 3, Shared: 3, Misses: 3, Ratio: &none, Runners: map[string]int{"linux-sandbox": 3}}
	runnersB := map[string]int{"linux-sandbox": 1, "remote cache hit": 2}
	wantB := summary{Actions: 3, Shared: 1, Hits: 1, Ratio: &all, Runners: runnersB}
	if diff := cmp.Diff([]summary{wantA, wantB}, []summary{got.A, got.B}); diff != "" {
		t.Errorf("summaries (-want +got):\n%s", diff)
	}
}

// TestTwice checks that an input that stands twice is an error only where its
// contents disagree.
func TestTwice(t *testing.T) {
	for _, test := range []struct{ content, want string }{
		{"source", ""},
		{"other", `compare GoCompilePkg //lib:lib bazel-out/lib.a: input lib/lib.go stands twice, as "source" and as "other"`},
	} {
		c := newComparison()
		b := build()
		b[0].Inputs = append(b[0].Inputs, file("lib/lib.go", test.content))
		if err := c.addA(build()[0]); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := c.addB(b[0]); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("content %q: got error %q, want %q", test.content, got, test.want)
		}
	}
}
