//go:build vm

package boot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/qemu"
)

// copied is a machine that runs on from a snapshot.
type copied struct {
	*agent.Client
	ctx context.Context
}

// TestRestore loads one snapshot twice, in processes, folders and under context
// IDs of their own, and makes two machines of the copies. QEMU is not given the
// device that tells a guest that it is a copy (vmgenid), which not all
// hypervisors have.
func TestRestore(t *testing.T) {
	t.Parallel()
	set, err := platforms["x86_64"]()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
	defer cancel()
	dir := shortDir(t)
	var serial bytes.Buffer
	spec := vm.Spec{
		Dir: dir, Arch: set.Arch, Kernel: set.Kernel, Initrd: set.Initrd, Cmdline: set.CommandLine,
		MemoryMiB: 256, CPUs: 1, CID: 3, Serial: &serial,
		Disks: writeDisks(t, dir, set.Set, options{config: &contract.Config{Cmd: []string{"sleep", "1000000"}}}),
	}
	original, err := qemu.Start(ctx, spec, set.accel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := original.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("serial output of the original:\n%s", &serial)
		}
	})
	m := connect(t, ctx, dir)
	// The snapshot is years old.
	m.run(t, "date -s '2024-02-03 04:05:06'")
	agentPID := m.run(t, "echo $PPID")
	lost := m.start(t, "echo up; exec sleep 4321")
	snapshot := filepath.Join(dir, "snapshot")
	start := time.Now()
	if err := original.Snapshot(ctx, snapshot); err != nil {
		t.Fatal(err)
	}
	t.Logf("snapshot: %v", time.Since(start))
	if err := <-lost; err == nil {
		t.Error("exec that ran at the snapshot: got no error")
	}
	requireRefusesCut(t, ctx, spec, set.accel, snapshot)

	var unseeded, seeded, ids []string
	for i := range 2 {
		start := time.Now()
		m := restore(t, ctx, spec, set.accel, snapshot, uint32(100+i))
		t.Logf("copy %d: agent reached after %v", i, time.Since(start))
		if got := m.run(t, "echo $PPID"); got != agentPID {
			t.Errorf("agent is process %q, want the snapshot's, %q", got, agentPID)
		}
		unseeded = append(unseeded, m.random(t))
		if err := m.ReseedRandom(ctx, fmt.Appendf(nil, "a seed of its own for copy number %d", i)); err != nil {
			t.Error(err)
		}
		seeded = append(seeded, m.random(t))
		if got := m.run(t, "cat "+contract.RestoreGenerationFile); got != "1\n" {
			t.Errorf("restore generation is %q, want 1", got)
		}
		m.requireClock(t)
		ids = append(ids, m.requireIdentity(t, fmt.Sprint("copy ", i)))
		m.requireNetwork(t)
		// The command of the call that was lost.
		m.run(t, "while pgrep -f 'sleep [4]321'; do sleep 0.1; done")
	}
	// They are the same as a rule; no guest promises that.
	t.Logf("random bytes before they are reseeded: %v", unseeded)
	if seeded[0] == seeded[1] {
		t.Errorf("both copies read %s", seeded[0])
	}
	if ids[0] == ids[1] {
		t.Errorf("both copies have machine ID %s", ids[0])
	}
}

// restore makes a machine of a copy, which lives until the end of the test, and
// reaches its agent.
func restore(t *testing.T, ctx context.Context, spec vm.Spec, accel qemu.Accel, snapshot string, cid uint32) *copied {
	t.Helper()
	var serial bytes.Buffer
	spec.Dir, spec.CID, spec.Serial = shortDir(t), cid, &serial
	spec.Disks = slices.Clone(spec.Disks)
	spec.Disks[1].Path = copyFile(t, spec.Disks[1].Path, spec.Dir)
	m, err := qemu.Restore(ctx, spec, accel, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("serial output of the copy with context ID %d:\n%s", cid, &serial)
		}
	})
	return connect(t, ctx, spec.Dir)
}

// requireRefusesCut loads the first half of a snapshot.
func requireRefusesCut(t *testing.T, ctx context.Context, spec vm.Spec, accel qemu.Accel, snapshot string) {
	t.Helper()
	cut := copyFile(t, snapshot, shortDir(t))
	info, err := os.Stat(cut)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(cut, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	spec.Dir = shortDir(t)
	m, err := qemu.Restore(ctx, spec, accel, cut)
	if m != nil || err == nil {
		t.Fatalf("half of a snapshot: got %v, %v, want an error", m, err)
	}
	t.Logf("half of a snapshot: %v", err)
}

// connect reaches the agent anew.
func connect(t *testing.T, ctx context.Context, dir string) *copied {
	t.Helper()
	client, err := agent.NewHybridClient(vm.Vsock(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := client.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return &copied{client, ctx}
}

// run runs a script and gives its output.
func (c *copied) run(t *testing.T, script string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	exit, err := c.Exec(c.ctx, agent.ExecOptions{Command: []string{"sh", "-c", script}, Stdout: &stdout, Stderr: &stderr})
	if !exit.Success() || err != nil {
		t.Fatalf("%s: %v, %v\n%s", script, exit, err, &stderr)
	}
	return stdout.String()
}

// start starts a script that prints a line first, and gives the error of its end.
func (c *copied) start(t *testing.T, script string) <-chan error {
	t.Helper()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(c.ctx, agent.ExecOptions{Command: []string{"sh", "-c", script}, Stdout: write})
		_ = write.CloseWithError(err)
		ended <- err
	}()
	if _, err := bufio.NewReader(read).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return ended
}

// random reads what a program would read for a key.
func (c *copied) random(t *testing.T) string {
	t.Helper()
	return hex.EncodeToString([]byte(c.run(t, "head -c 32 /dev/urandom")))
}

func (c *copied) requireClock(t *testing.T) {
	t.Helper()
	offset, stepped, err := c.SyncClock(c.ctx, 0)
	if err != nil || !stepped || offset > -365*24*time.Hour {
		t.Errorf("sync of an old clock: got offset %v, stepped %v, %v", offset, stepped, err)
	}
	const near = 500 * time.Millisecond
	before := time.Now()
	offset, stepped, err = c.SyncClock(c.ctx, time.Minute)
	if err != nil || stepped || offset.Abs() > near+time.Since(before) {
		t.Errorf("sync of a clock that was synced: got offset %v, stepped %v, %v, want less than %v", offset, stepped, err, near)
	}
	// A program's view, in seconds.
	text := c.run(t, "date +%s")
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || seconds < before.Add(-near).Unix() || seconds > time.Now().Add(near).Unix() {
		t.Errorf("the guest's date is %q (%v), want that of %v", text, err, before)
	}
}

func (c *copied) requireIdentity(t *testing.T, instance string) string {
	t.Helper()
	id, err := c.RebindIdentity(c.ctx, instance)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.run(t, "cat /etc/machine-id"); got != id+"\n" {
		t.Errorf("/etc/machine-id has %q, want %s", got, id)
	}
	return id
}

// requireNetwork changes the one interface that the machine has.
func (c *copied) requireNetwork(t *testing.T) {
	t.Helper()
	identity := agent.NetworkIdentity{IPv4: "127.0.0.9", PrefixLength: 8, DNSServers: []string{"10.0.0.1"}}
	if err := c.ReconfigureNetwork(c.ctx, identity); status.Code(err) != codes.NotFound {
		t.Errorf("change of eth0, which is not there: got error %v, want code %v", err, codes.NotFound)
	}
	identity.Interface = "lo"
	if err := c.ReconfigureNetwork(c.ctx, identity); err != nil {
		t.Fatal(err)
	}
	if got := c.run(t, "ip -4 -o addr show dev lo up"); !strings.Contains(got, " 127.0.0.9/8 ") || strings.Contains(got, " 127.0.0.1/8 ") {
		t.Errorf("lo has %q, want 127.0.0.9/8", got)
	}
	if got := c.run(t, "cat /etc/resolv.conf"); got != "nameserver 10.0.0.1\n" {
		t.Errorf("/etc/resolv.conf has %q", got)
	}
}

// shortDir makes a folder whose path is short enough for Unix sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "boot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// copyFile copies a file into a folder, under its name.
func copyFile(t *testing.T, name, dir string) string {
	t.Helper()
	target := filepath.Join(dir, filepath.Base(name))
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return target
}
