package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeBench runs commands that write a file: NAME SECONDS.
func fakeBench(t *testing.T, rounds int, ran *[]string) *bench {
	return &bench{options: &options{rounds: rounds}, dir: t.TempDir(), stderr: io.Discard,
		execute: func(_ context.Context, env, argv []string) (*usageOf, error) {
			*ran = append(*ran, strings.Join(append(env, argv...), " "))
			if argv[0] == "broken" {
				return nil, errors.New("it broke")
			}
			if argv[0] == "make" {
				if _, err := os.Stat(argv[1]); err == nil {
					return nil, errors.New("output is there already")
				}
				if err := os.WriteFile(argv[1], []byte("12345"), 0o600); err != nil {
					return nil, err
				}
			}
			return &usageOf{duration: time.Duration(len(*ran)) * time.Second, cpu: time.Second, peak: 7, stdout: []byte("out of " + argv[0] + "\n")}, nil
		}}
}

func TestMeasureTakesTurns(t *testing.T) {
	var ran []string
	b := fakeBench(t, 2, &ran)
	out := b.path("out")
	prepared := 0
	prepare := func() error {
		prepared++
		return nil
	}
	got, err := b.measure(t.Context(), figure{name: "f", contenders: []contender{
		{name: "a", output: out, prepare: prepare, commands: [][]string{{"make", out}, {"a2"}}, env: []string{"K=V"}},
		{name: "again", output: out, again: true, commands: [][]string{{"look"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if prepared != 3 {
		t.Errorf("prepared %d times, want once a round", prepared)
	}
	round := []string{"sync", "K=V make " + out, "K=V a2", "look"}
	if diff := cmp.Diff(append(append(append([]string{}, round...), round...), round...), ran); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	// Of the first round, which warms up, nothing is kept; sync takes no time.
	want := rows{
		{Name: "a", Unit: "s", Values: []float64{6 + 7, 10 + 11}, CPU: 2, Peak: 7, Bytes: 5, spread: spread{Median: 17, MAD: 4, Min: 13, Max: 21}},
		{Name: "again", Unit: "s", Values: []float64{8, 12}, CPU: 1, Peak: 7, Bytes: 5, spread: spread{Median: 10, MAD: 2, Min: 8, Max: 12}},
	}
	if diff := cmp.Diff(want, got.Rows, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestInTurn(t *testing.T) {
	contenders := []contender{{name: "a"}, {name: "a again", again: true}, {name: "b"}, {name: "c"}}
	for round, want := range []string{"a, a again, b, c", "b, c, a, a again", "c, a, a again, b", "a, a again, b, c"} {
		var names []string
		for _, c := range inTurn(contenders, round) {
			names = append(names, c.name)
		}
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("round %d: got %s, want %s", round, got, want)
		}
	}
}

func TestMeasureFails(t *testing.T) {
	var ran []string
	b := fakeBench(t, 5, &ran)
	_, err := b.measure(t.Context(), figure{name: "f", contenders: []contender{
		{name: "fine", commands: [][]string{{"x"}}}, {name: "bad", commands: [][]string{{"broken"}, {"y"}}},
	}})
	if err == nil || err.Error() != "bad: it broke" {
		t.Errorf("error %v, want bad: it broke", err)
	}
	if diff := cmp.Diff([]string{"x", "broken"}, ran); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	_, err = b.measure(t.Context(), figure{contenders: []contender{{name: "lazy", output: b.path("none"), commands: [][]string{{"x"}}}}})
	if err == nil || !strings.HasPrefix(err.Error(), "lazy: measure output: ") {
		t.Errorf("error %v, want one of an output that is not there", err)
	}
}

func TestMeasurePrepares(t *testing.T) {
	var ran []string
	broken := errors.New("it broke")
	_, err := fakeBench(t, 1, &ran).measure(t.Context(), figure{contenders: []contender{
		{name: "a", prepare: func() error { return broken }, commands: [][]string{{"x"}}},
	}})
	if !errors.Is(err, broken) || len(ran) > 0 {
		t.Errorf("error %v, want %v; ran %q", err, broken, ran)
	}
}

// TestEnd has the second thing to do fail, after ctx was ended.
func TestEnd(t *testing.T) {
	b := &bench{}
	var done []int
	broken := errors.New("it broke")
	for number, err := range []error{nil, broken, nil} {
		b.atEnd(func(ctx context.Context) error {
			done = append(done, number)
			return errors.Join(err, ctx.Err())
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.end(ctx); !errors.Is(err, broken) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want only %v", err, broken)
	}
	if diff := cmp.Diff([]int{2, 1, 0}, done); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
}

func TestMeasureCollects(t *testing.T) {
	var ran []string
	b := fakeBench(t, 2, &ran)
	got, err := b.measure(t.Context(), figure{
		contenders: []contender{{name: "a", commands: [][]string{{"x"}}}},
		collect: func(output []byte) ([]sample, error) {
			return []sample{{string(output), "MB/s", float64(len(ran))}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := rows{{Name: "out of x\n", Unit: "MB/s", Values: []float64{1, 2}, Peak: 7, spread: spread{Median: 1.5, MAD: 0.5, Min: 1, Max: 2}}}
	if diff := cmp.Diff(want, got.Rows, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestExecute(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got, err := execute(t.Context(), []string{"HOME=" + dir}, []string{self, "-test.run=^$"})
	if err != nil {
		t.Fatal(err)
	}
	if got.duration <= 0 || got.cpu <= 0 || got.peak < 1<<20 || len(got.stdout) == 0 {
		t.Errorf("got %+v, want times, a peak of some MiB and output", got)
	}
	if _, err := execute(t.Context(), nil, []string{self, "-test.nonsense"}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("error %v, want what the program says", err)
	}
	if _, err := execute(t.Context(), nil, []string{filepath.Join(dir, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
}

// TestShellFails has a program missing in front of one that works.
func TestShellFails(t *testing.T) {
	if _, err := execute(t.Context(), nil, shell("no-such-program | cat")); err == nil {
		t.Error("a pipe without its first program works")
	}
}
