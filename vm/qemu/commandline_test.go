package qemu

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/internal/process/processtest"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// TestArguments has what is behind the programs' names.
func TestCommandLine(t *testing.T) {
	programs := qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock")
	t.Setenv(qemuEnv, "prints its command line")
	var serial bytes.Buffer
	spec := newSpec(t, &serial)
	want, err := CommandLine(spec, TCG)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Start(processtest.Limited(t), spec, TCG)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(processtest.Limited(t)); err != nil {
		t.Error(err)
	}
	programs.RequireGone(t)
	if diff := cmp.Diff(want, strings.Split(serial.String(), "\n")); diff != "" {
		t.Errorf("(-CommandLine +what Start starts):\n%s", diff)
	}
}

func TestCommandLineFails(t *testing.T) {
	_, err := CommandLine(vm.Spec{Arch: "sparc"}, TCG)
	processtest.RequireError(t, err, `write command line: arch "sparc" is not known`)
}

func TestVsockCommandLine(t *testing.T) {
	want := []string{"vhost-device-vsock", "--guest-cid", "4", "--socket", "/m, n=1/vhost.sock", "--uds-path", "/m, n=1/vsock.sock"}
	if diff := cmp.Diff(want, VsockCommandLine(vm.Spec{Dir: "/m, n=1", CID: 4})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
