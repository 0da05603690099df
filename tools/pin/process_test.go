package main

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch/fetchtest"
)

// process is pin as a process of its own, with its own environment.
func (w *workspace) process(t *testing.T, environment []string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), mainEnv+"=1", "HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=", "http_proxy=", "https_proxy=", "no_proxy=")
	cmd.Env = append(cmd.Env, environment...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

func (w *workspace) runProcess(t *testing.T, environment []string, args ...string) result {
	t.Helper()
	cmd, stdout, stderr := w.process(t, environment, args...)
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// TestUnderBazel runs pin in a folder of its own, as bazel run does.
func TestUnderBazel(t *testing.T) {
	w := newWorkspace(t)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "system"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.lock, filepath.Join(root, "system", "artifacts.lock.json")); err != nil {
		t.Fatal(err)
	}
	s := fetchtest.NewServer(t, fetchtest.With(http.StatusOK, headers))
	s.Start()
	environment := []string{"BUILD_WORKSPACE_DIRECTORY=" + root, "BUILD_WORKING_DIRECTORY=" + w.save}
	got := w.runProcess(t, environment, "update", "headers", "--arch", "all", "--from", s.URL, "--allow-http-loopback", "--save", ".")
	want := result{0, "headers all: its size is known now\n" + details("archive of 1 entries", headers, "digest of the lock") +
		"  saved " + w.save + "/headers.tar.gz, which Bazel takes with --distdir=" + w.save + "\n", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	environment[1] = "BUILD_WORKING_DIRECTORY=/nosuch"
	if diff := cmp.Diff(result{1, "", "pin: chdir /nosuch: no such file or directory\n"}, w.runProcess(t, environment, "check")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProxies(t *testing.T) {
	asked := make(chan string, 10)
	s := fetchtest.NewServer(t, func(s *fetchtest.Server, rw http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.RequestURI
		if r.Method == http.MethodConnect {
			fetchtest.With(http.StatusProxyAuthRequired, "")(s, rw, r)
			return
		}
		fetchtest.With(http.StatusOK, busybox)(s, rw, r)
	})
	s.Start()
	const mirror = "DEBIAN_MIRROR=http://debian.invalid/debian"
	tests := []struct {
		name        string
		environment []string
		args        []string
		want        result
		asked       string
	}{
		{"http", []string{mirror, "HTTP_PROXY=" + s.URL}, []string{"update", "busybox", "--arch", "x86_64"},
			result{0, "busybox x86_64: unchanged\n" + details("Debian package", busybox, "digest of the lock"), ""},
			"GET http://debian.invalid/debian/" + debPath},
		{"https", []string{"https_proxy=" + s.URL}, []string{"update", "linux", "--arch", "x86_64"},
			result{1, "", "pin: update linux x86_64: fetch " + kernelURL + ": ask proxy for a connection: proxy says 407 Proxy Authentication Required\n"},
			"CONNECT github.com:443"},
		{"never for this machine", []string{"HTTP_PROXY=http://proxy.invalid:1"},
			[]string{"update", "busybox", "--arch", "x86_64", "--from", s.URL + "/file", "--allow-http-loopback"},
			result{0, "busybox x86_64: unchanged\n" + details("Debian package", busybox, "digest of the lock") +
				"  Bazel takes it from a folder that has it as busybox_1_amd64.deb, with --distdir=FOLDER: --save FOLDER puts it there\n", ""},
			"GET /file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorkspace(t)
			got := w.runProcess(t, test.environment, append([]string{"--lock", w.lock, "--progress", "quiet"}, test.args...)...)
			if got.Code != test.want.Code || got.Stdout != test.want.Stdout || !strings.HasPrefix(got.Stderr, test.want.Stderr) {
				t.Errorf("(-want +got):\n%s", cmp.Diff(test.want, got))
			}
			if len(asked) != 1 {
				t.Fatalf("got %d requests, want %s", len(asked), test.asked)
			}
			if request := <-asked; request != test.asked {
				t.Errorf("got request %s, want %s", request, test.asked)
			}
			w.requireClean(t)
		})
	}
}

// TestInterrupt ends pin while it downloads.
func TestInterrupt(t *testing.T) {
	w := newWorkspace(t)
	started := make(chan struct{})
	s := fetchtest.NewServer(t, func(s *fetchtest.Server, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "10")
		if err := http.NewResponseController(rw).Flush(); err != nil {
			panic(err)
		}
		close(started)
		<-r.Context().Done()
	})
	s.Start()
	before := w.read(t)
	cmd, stdout, stderr := w.process(t, nil, "--lock", w.lock, "update", "linux", "--arch", "x86_64", "--from", s.URL+"/file", "--allow-http-loopback", "--save", w.save)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok {
		t.Error("pin ended well")
	}
	want := result{1, "", "pin: update linux x86_64: fetch " + s.URL + "/file: interrupt signal received\n"}
	if diff := cmp.Diff(want, result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if left := list(t, w.save); len(left) > 0 || w.read(t) != before {
		t.Errorf("left %v, or the lock has changed", left)
	}
	w.requireClean(t)
}
