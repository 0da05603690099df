package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestComplete asks as the shells' scripts do, in a machine-readable form: a
// line for each value, then a number that says what else the shell may offer.
func TestComplete(t *testing.T) {
	newHost(t)
	t.Setenv(serialEnv, exited("", 0))
	if got := kindling("run", "--name", "was"); got.Code != 0 {
		t.Fatalf("run: got %+v", got)
	}
	running := startRun(t, "web", "bye\r\n"+sentinel(0, "success"))
	const (
		noSpace = ":2"
		noFiles = ":4"
		files   = ":0"
	)
	tests := []struct {
		args string // the last one is what has been typed of it
		want []string
	}{
		{"stop ", []string{"web", noFiles}},
		{"stop -t 5 ", []string{"web", noFiles}},
		{"stop web ", []string{noFiles}},
		{"exec ", []string{"web", noFiles}},
		{"exec web ", []string{noFiles}},
		{"rm ", []string{"was", "web", noFiles}},
		{"rm web ", []string{"was", noFiles}},
		{"logs w", []string{"was", "web", noFiles}},
		{"logs x", []string{noFiles}},
		{"logs was ", []string{noFiles}},
		{"inspect wa", []string{"was", noFiles}},
		{"cp ", []string{"web:", noSpace}},
		{"cp ./report", []string{files}},
		{"cp web:/", []string{noFiles}},
		{"cp report ", []string{"web:", noSpace}},
		{"cp report web:/ ", []string{noFiles}},
		{"stat w", []string{"web:", noSpace}},
	}
	for _, test := range tests {
		got := kindling(append([]string{"__complete"}, strings.Split(test.args, " ")...)...)
		if got.Code != 0 {
			t.Errorf("%q: got %+v", test.args, got)
		}
		if diff := cmp.Diff(test.want, strings.Split(strings.TrimSpace(got.Stdout), "\n")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.args, diff)
		}
	}
	if got := kindling("stop", "web"); got.Code != 0 {
		t.Errorf("stop: got %+v", got)
	}
	running.wait(t)
}

func TestCompleteFails(t *testing.T) {
	newHost(t)
	t.Setenv("KINDLING_STATE_DIR", "/dev/null/state")
	got := kindling("__complete", "stop", "")
	if strings.TrimSpace(got.Stdout) != ":1" {
		t.Errorf("got %+v, want an error, which is 1, and no names", got)
	}
}

func TestCompletionScripts(t *testing.T) {
	newHost(t)
	for shell, want := range map[string]string{
		"bash": "complete -o default -F __start_kindling kindling",
		"zsh":  "#compdef kindling",
		"fish": "complete -c kindling",
	} {
		got := kindling("completion", shell)
		if got.Code != 0 || got.Stderr != "" || !strings.Contains(got.Stdout, want) {
			t.Errorf("%s: got code %d, stderr %q and %d bytes, want them to have %q", shell, got.Code, got.Stderr, len(got.Stdout), want)
		}
	}
}
