package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// pausable is where a guest listens, which takes no connections while its machine
// is paused.
type pausable struct {
	net.Listener
	paused *atomic.Bool
}

func (p pausable) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil || !p.paused.Load() {
			return conn, err
		}
		if err := conn.Close(); err != nil {
			return nil, err
		}
	}
}

// fakeCloudHypervisor is a machine with an agent, as fakeQEMU and fakeVhost are.
func fakeCloudHypervisor() error {
	listener, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		return err
	}
	booted, told, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var paused atomic.Bool
	go func() {
		failed <- http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var config struct{ Vsock struct{ Socket string } }
			switch r.URL.Path {
			case "/api/v1/vmm.ping":
				_, _ = io.WriteString(w, `{"version":"v48.0"}`)
				return
			case "/api/v1/vm.info":
				state := "Running"
				if paused.Load() {
					state = "Paused"
				}
				_, _ = fmt.Fprintf(w, `{"state":%q}`, state)
				return
			case "/api/v1/vm.pause", "/api/v1/vm.resume":
				paused.Store(r.URL.Path == "/api/v1/vm.pause")
			case "/api/v1/vm.create":
				if err := json.NewDecoder(r.Body).Decode(&config); err != nil {
					failed <- err
				}
				guest, err := net.Listen("unix", config.Vsock.Socket)
				if err != nil {
					failed <- err
				}
				go func() {
					failed <- serveRenewed(pausable{guest, &paused}, os.Getenv(renewedEnv), func(int, syscall.Signal) error {
						close(told)
						return nil
					})
				}()
			}
			w.WriteHeader(http.StatusNoContent)
			if r.URL.Path == "/api/v1/vm.boot" {
				_ = http.NewResponseController(w).Flush()
				close(booted)
			}
		}))
	}()
	select {
	case <-booted:
	case err := <-failed:
		return err
	}
	fmt.Print(os.Getenv(serialEnv))
	if os.Getenv(stoppedEnv) == "" {
		return nil
	}
	select {
	case <-told:
	case err := <-failed:
		return err
	}
	fmt.Print(os.Getenv(stoppedEnv))
	return nil
}

func TestRunChoosesHypervisor(t *testing.T) {
	const (
		qemu  = "qemu-system-x86_64"
		cloud = "cloud-hypervisor"
	)
	tests := []struct {
		name     string
		programs []string
		args     []string
		want     [2]string // hypervisor and accelerator
	}{
		{"user network", []string{qemu, cloud}, []string{"--accel", "kvm"}, [2]string{"qemu", "kvm"}},
		{"no network", []string{qemu, cloud}, []string{"--accel", "kvm", "--net", "none"}, [2]string{cloud, "kvm"}},
		{"tap device", []string{qemu, cloud}, []string{"--accel", "kvm", "--net", "tap,ifname=lo,ip=10.0.0.9/30"}, [2]string{cloud, "kvm"}},
		{"emulation", []string{qemu, cloud}, []string{"--accel", "tcg", "--net", "none"}, [2]string{"qemu", "tcg"}},
		{"no Cloud Hypervisor", []string{qemu}, []string{"--accel", "kvm", "--net", "none"}, [2]string{"qemu", "kvm"}},
		{"QEMU is wanted", []string{qemu, cloud}, []string{"--accel", "kvm", "--net", "none", "--hypervisor", "qemu"}, [2]string{"qemu", "kvm"}},
		{"Cloud Hypervisor is wanted", []string{cloud}, []string{"--accel", "auto", "--net", "none", "--hypervisor", cloud}, [2]string{cloud, "kvm"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.programs = qemutest.Use(t, append(test.programs, "vhost-device-vsock")...)
			t.Setenv(serialEnv, exited("hi\r\n", 7))
			got := kindling(append([]string{"run", "--name", "web"}, test.args...)...)
			if diff := cmp.Diff(result{7, "hi\n", ""}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var seen struct{ Hypervisor, Accel string }
			if err := json.Unmarshal([]byte(kindling("inspect", "web").Stdout), &seen); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, [2]string{seen.Hypervisor, seen.Accel}); diff != "" {
				t.Errorf("inspect (-want +got):\n%s", diff)
			}
			h.requireReleased(t)
		})
	}
}

func TestRunWithoutCloudHypervisor(t *testing.T) {
	h := newHost(t)
	got := kindling("run", "--accel", "kvm", "--net", "none", "--hypervisor", "cloud-hypervisor")
	if want := "kindling: start machine: find hypervisor's program: "; got.Code != 125 || !strings.HasPrefix(got.Stderr, want) {
		t.Errorf("got %+v, want code 125 and a message that starts with %q", got, want)
	}
	h.requireReleased(t)
}

// startUnderCloudHypervisor starts a machine that is called web. What its guest is
// told is in the file told.
func startUnderCloudHypervisor(t *testing.T) (h *host, u *user, told string) {
	t.Helper()
	h = newHost(t)
	h.programs = qemutest.Use(t, "cloud-hypervisor", "kindling")
	told = filepath.Join(t.TempDir(), "told")
	t.Setenv(renewedEnv, told)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, "bye\r\n"+sentinel(3, "exit code 3"))
	t.Setenv("KINDLING_ACCEL", "kvm")
	u = startUser(t, "run", "--name", "web", "--net", "none")
	u.see(t, "up\n")
	return h, u, told
}

func TestControlUnderCloudHypervisor(t *testing.T) {
	h, u, told := startUnderCloudHypervisor(t)
	steps := []struct{ verb, state string }{
		{"pause", statePaused}, {"pause", statePaused}, {"resume", stateRunning}, {"resume", stateRunning}, {"pause", statePaused},
	}
	for _, step := range steps {
		if diff := cmp.Diff(result{0, "web\n", ""}, kindling(step.verb, "web")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.verb, diff)
		}
		requireState(t, "web", step.state)
	}
	requireTold(t, told, "clock\nclock\n")
	target := filepath.Join(t.TempDir(), "snapshot")
	refusals := []struct {
		args []string
		want string
	}{
		{[]string{"exec", "web", "--", "true"}, "machine web is paused; kindling resume web lets it go on"},
		{[]string{"cp", "web:/file", target}, "machine web is paused; kindling resume web lets it go on"},
		{[]string{"snapshot", "web", target}, "machine web runs under cloud-hypervisor, and kindling saves machines under qemu only"},
	}
	for _, test := range refusals {
		if got := kindling(test.args...); got.Code != exitOwn || !strings.Contains(got.Stderr, test.want) {
			t.Errorf("%s: got %+v, want code %d and a message with %q", test.args[0], got, exitOwn, test.want)
		}
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v of %s, want it not there", err, target)
	}
	// A paused machine can be stopped.
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "web")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{3, "bye\n", ""}, u.wait(t)); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestInterruptUnderCloudHypervisor(t *testing.T) {
	h, u, _ := startUnderCloudHypervisor(t)
	must(t, "pause", "web")
	u.signal(t, syscall.SIGINT)
	if diff := cmp.Diff(result{3, "bye\n", ""}, u.wait(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestStopUnderCloudHypervisor(t *testing.T) {
	h, u, _ := startUnderCloudHypervisor(t)
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "web")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{3, "bye\n", ""}, u.wait(t)); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}
