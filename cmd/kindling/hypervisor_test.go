package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// fakeCloudHypervisor is a machine with an agent, as fakeQEMU and fakeVhost are.
func fakeCloudHypervisor() error {
	listener, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		return err
	}
	booted, told, failed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		failed <- http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var config struct{ Vsock struct{ Socket string } }
			switch r.URL.Path {
			case "/api/v1/vmm.ping":
				_, _ = io.WriteString(w, `{"version":"v48.0"}`)
				return
			case "/api/v1/vm.create":
				if err := json.NewDecoder(r.Body).Decode(&config); err != nil {
					failed <- err
				}
				guest, err := net.Listen("unix", config.Vsock.Socket)
				if err != nil {
					failed <- err
				}
				go func() {
					failed <- serveAgent(guest, func(int, syscall.Signal) error {
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

func TestStopUnderCloudHypervisor(t *testing.T) {
	h := newHost(t)
	h.programs = qemutest.Use(t, "cloud-hypervisor", "kindling")
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, "bye\r\n"+sentinel(3, "exit code 3"))
	t.Setenv("KINDLING_ACCEL", "kvm")
	u := startUser(t, "run", "--name", "web", "--net", "none")
	u.see(t, "up\n")
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "web")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{3, "bye\n", ""}, u.wait(t)); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}
