package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

// renewed is an agent that changes nothing on the machine of the test.
type renewed struct {
	guestpb.UnimplementedGuestServiceServer
	guestpb.UnimplementedAgentServiceServer
	name string
	kill func(int, syscall.Signal) error
}

func serveRenewed(listener net.Listener, name string, kill func(int, syscall.Signal) error) error {
	s := grpc.NewServer()
	guest := &renewed{name: name, kill: kill}
	guestpb.RegisterGuestServiceServer(s, guest)
	guestpb.RegisterAgentServiceServer(s, guest)
	return s.Serve(hybridListener{listener})
}

func (r *renewed) note(format string, args ...any) error {
	file, err := os.OpenFile(r.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(file, format+"\n", args...); err != nil {
		return err
	}
	return file.Close()
}

func (r *renewed) SyncClock(context.Context, *guestpb.SyncClockRequest) (*guestpb.SyncClockResponse, error) {
	return &guestpb.SyncClockResponse{}, r.note("clock")
}

func (r *renewed) ReseedRandom(_ context.Context, req *guestpb.ReseedRandomRequest) (*guestpb.ReseedRandomResponse, error) {
	return &guestpb.ReseedRandomResponse{}, r.note("seed %x", req.GetSeed())
}

func (r *renewed) RebindIdentity(_ context.Context, req *guestpb.RebindIdentityRequest) (*guestpb.RebindIdentityResponse, error) {
	return &guestpb.RebindIdentityResponse{MachineId: strings.Repeat("a", 32)}, r.note("identity %s", req.GetInstanceId())
}

func (r *renewed) Shutdown(_ context.Context, req *guestpb.ShutdownRequest) (*guestpb.ShutdownResponse, error) {
	return &guestpb.ShutdownResponse{}, r.kill(1, syscall.Signal(req.GetSignal()))
}

// newSnapshotHost is a machine on which web runs, whose set is installed. What
// its guest is told is in the file told.
func newSnapshotHost(t *testing.T, args ...string) (h *host, told string) {
	t.Helper()
	h = newBootHost(t)
	told = filepath.Join(t.TempDir(), "told")
	t.Setenv(renewedEnv, told)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, "bye\r\n"+sentinel(3, "exit code 3"))
	id := installBootable(t, "one", "6.1.0")
	t.Setenv("KINDLING_ARTIFACTS", "")
	runDetached(t, append([]string{"--set", id}, args...)...)
	return h, told
}

// requireTold checks, and forgets, what a guest was told.
func requireTold(t *testing.T, told, want string) {
	t.Helper()
	text, err := os.ReadFile(told)
	if err == nil {
		err = os.Remove(told)
	}
	if err != nil || !regexp.MustCompile("^"+want+"$").Match(text) {
		t.Errorf("guest was told %q (%v), want %s", text, err, want)
	}
}

func requireState(t *testing.T, name, want string) {
	t.Helper()
	if got := inspect(t, name).State; got != want {
		t.Errorf("inspect: %s is %s, want it %s", name, got, want)
	}
	if !strings.Contains(must(t, "ps"), want) {
		t.Errorf("ps: %s is not %s", name, want)
	}
}

func TestPause(t *testing.T) {
	h, told := newSnapshotHost(t)
	want := result{exitOwn, "web\n", "kindling: no machine called none is running\n"}
	for _, test := range []struct{ verb, state string }{{"pause", statePaused}, {"pause", statePaused}, {"resume", stateRunning}, {"resume", stateRunning}} {
		if diff := cmp.Diff(want, kindling(test.verb, "none", "web")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.verb, diff)
		}
		requireState(t, "web", test.state)
	}
	requireTold(t, told, "clock\nclock\n")
	// A paused machine can be stopped.
	must(t, "pause", "web")
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "web")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if m := inspect(t, "web"); m.ExitCode == nil || *m.ExitCode != 3 {
		t.Errorf("got %+v, want exit code 3", m)
	}
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}

// So can one whose user has enough of it.
func TestInterruptPaused(t *testing.T) {
	h := newHost(t)
	u := startRun(t, "web", "bye\r\n"+sentinel(3, "exit code 3"))
	must(t, "pause", "web")
	u.signal(t, syscall.SIGINT)
	if diff := cmp.Diff(result{3, "bye\n", ""}, u.wait(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestSnapshotAndRestore(t *testing.T) {
	h, told := newSnapshotHost(t, "-e", "TOKEN=secret-value", "--memory", "99", "--cpus", "2", "--net", "none", "--", "app", "arg")
	web := inspect(t, "web")
	dir := filepath.Join(t.TempDir(), "snap, shot")
	if diff := cmp.Diff(result{0, dir + "\n", ""}, kindling("snapshot", "web", dir)); diff != "" {
		t.Fatalf("snapshot (-want +got):\n%s", diff)
	}
	requireTold(t, told, "clock\n")
	requireState(t, "web", stateRunning)
	manifest, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil || strings.Contains(string(manifest), "secret-value") {
		t.Errorf("got manifest %s, %v, want it without the value", manifest, err)
	}
	// A second one of the same name is refused, of another is not.
	if got := kindling("snapshot", "web", dir); got.Code != exitOwn || !strings.HasSuffix(got.Stderr, dir+" exists\n") {
		t.Errorf("snapshot over another: got %+v", got)
	}
	must(t, "pause", "web")
	must(t, "snapshot", "web", dir+"-2")
	requireState(t, "web", statePaused)
	must(t, "rm", "-f", "web")
	h.programs.AwaitGone(t)

	arguments := filepath.Join(t.TempDir(), "arguments")
	t.Setenv(argumentsEnv, arguments)
	t.Setenv(serialEnv, "more\r\n")
	seeds := map[string]bool{}
	for _, name := range []string{"b", "c"} {
		if diff := cmp.Diff(result{0, name + "\n", ""}, startUser(t, "restore", "-d", "--name", name, dir).wait(t)); diff != "" {
			t.Fatalf("restore (-want +got):\n%s", diff)
		}
		text, err := os.ReadFile(told)
		if err != nil {
			t.Fatal(err)
		}
		seeds[string(text)] = true
		requireTold(t, told, "seed [0-9a-f]{128}\nclock\nidentity [a-z0-9]{26}\n")
		m := inspect(t, name)
		want := web
		want.Name, want.Snapshot, want.PID, want.Started = name, dir, m.PID, m.Started
		want.HypervisorCommands = [][]string{}
		want.HypervisorCommandsError = "machine was restored, which takes more than command lines"
		for i := range want.Disks {
			want.Disks[i].Path = filepath.Join(dir, diskFile(i))
			if !want.Disks[i].ReadOnly {
				want.Disks[i].Path = filepath.Join(h.state, machinesFolder, name, diskFile(i))
			}
		}
		if diff := cmp.Diff(want, m, cmp.AllowUnexported(volume{}, machine{})); diff != "" {
			t.Errorf("inspect (-want +got):\n%s", diff)
		}
		got, err := os.ReadFile(arguments)
		if err != nil || !strings.Contains(string(got), "-m\n99M\n-smp\n2\n") || !strings.Contains(string(got), "-incoming\n") {
			t.Errorf("got arguments\n%s (%v)", got, err)
		}
	}
	if len(seeds) != 2 {
		t.Errorf("got %v, want another seed and identity for each machine", seeds)
	}
	must(t, "stop", "b", "c")
	if diff := cmp.Diff("more\nbye\n", must(t, "logs", "b")); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}

func TestRestoreFails(t *testing.T) {
	h, _ := newSnapshotHost(t)
	id := inspect(t, "web").Set
	good := filepath.Join(t.TempDir(), "good")
	must(t, "snapshot", "web", good)
	must(t, "stop", "web")
	h.programs.AwaitGone(t)
	other := writeArtifacts(t)
	missing := "artifact set " + id + " is not installed: get it with kindling install " + id + "\n"
	tests := []struct {
		name   string
		env    map[string]string
		change func(t *testing.T, dir string)
		args   []string
		want   string // in the message
	}{
		{"set is not installed", map[string]string{"KINDLING_DATA_DIR": "/nonexistent"}, nil, nil, missing},
		{"other set", nil, nil, []string{"--artifacts", other}, "it is of artifact set " + id + ", and this is sha256:"},
		{"other version", map[string]string{versionEnv: "10.0.0"}, nil, nil,
			"hypervisor is qemu 10.0.0, recorded is qemu 11.1.2 (Debian 1:11.1.2); put qemu 11.1.2 (Debian 1:11.1.2) in PATH, or boot the image anew\n"},
		{"no hypervisor", map[string]string{"PATH": ""}, nil, nil, "Debian package qemu-system-x86)"},
		{"no folder", nil, func(t *testing.T, dir string) { remove(t, dir, manifestFile) }, nil, "snapshot.json: no such file or directory\n"},
		{"no memory", nil, func(t *testing.T, dir string) { remove(t, dir, memoryFile) }, nil, "memory: no such file or directory\n"},
		{"memory", nil, func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, memoryFile), []byte("stalE")) }, nil, "memory has 5 bytes and digest "},
		{"disk", nil, func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, diskFile(1)), nil) }, nil, "disk-1 has 0 bytes and digest "},
		{"read-only disk", nil, func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, diskFile(0)), nil) }, nil, "disk-0 has 0 bytes and digest "},
		{"no disk", nil, func(t *testing.T, dir string) { remove(t, dir, diskFile(2)) }, nil, "disk-2: no such file or directory\n"},
		{"later version", nil, changeManifest(`"version": 1,`, `"version": 2,`), nil, "its manifest has version 2, want 1\n"},
		{"later key", nil, changeManifest(`"accel"`, `"new": 1, "accel"`), nil, `unknown field "new"`},
		{"no record of the boot", nil, changeManifest(`"setId"`, `"set"`), nil, "parse snapshot record: "},
		{"path of a disk", nil, changeManifest(`"disk-1"`, `"../disk-1"`), nil, `disk 1 is in "../disk-1", want disk-1`},
		{"stop signal", nil, changeManifest(`"SIGTERM"`, `"SIGKILL"`), nil, `its machine had stop signal "SIGKILL", which cannot reach its command`},
		{"accel", nil, changeManifest(`"tcg"`, `"xen"`), nil, `its machine ran by "xen", want kvm or tcg`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			dir := filepath.Join(t.TempDir(), "snapshot")
			copyFolder(t, dir, good)
			if test.change != nil {
				test.change(t, dir)
			}
			got := kindling(append(append([]string{"restore"}, test.args...), dir)...)
			if got.Code != exitOwn || got.Stdout != "" || !strings.Contains(got.Stderr, test.want) || !strings.HasPrefix(got.Stderr, "kindling: ") {
				t.Errorf("got %+v, want code 125 and a message with %q", got, test.want)
			}
			h.requireReleased(t)
		})
	}
}

// copyFolder copies files that are mostly holes.
func copyFolder(t *testing.T, target, source string) {
	t.Helper()
	entries, err := os.ReadDir(source)
	if err == nil {
		err = os.Mkdir(target, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, err := copySparse(t.Context(), filepath.Join(target, entry.Name()), filepath.Join(source, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func changeManifest(from, to string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		name := filepath.Join(dir, manifestFile)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(data), from, to, 1)
		if changed == string(data) {
			t.Fatalf("%s is not in %s", from, data)
		}
		if err := os.WriteFile(name, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A snapshot that fails leaves nothing, and the machine runs on.
func TestSnapshotFails(t *testing.T) {
	h, _ := newSnapshotHost(t)
	parent := t.TempDir()
	dir := filepath.Join(h.state, machinesFolder, "web")
	if err := os.Rename(filepath.Join(dir, "overlay.raw"), filepath.Join(dir, "gone.raw")); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		filepath.Join(parent, "snapshot"):       "kindling: save machine web: save machine: open " + dir + "/overlay.raw: no such file or directory\n",
		filepath.Join(parent, "no", "snapshot"): "no such file or directory\n",
	} {
		got := kindling("snapshot", "web", target)
		if got.Code != exitOwn || got.Stdout != "" || !strings.HasSuffix(got.Stderr, want) {
			t.Errorf("got %+v, want code 125 and a message with %q", got, want)
		}
	}
	if left, err := fs.Glob(os.DirFS(parent), "*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left (%v)", left, err)
	}
	if left, err := fs.Glob(os.DirFS(parent), ".*"); err != nil || len(left) > 1 {
		t.Errorf("%v is left (%v)", left, err)
	}
	requireState(t, "web", stateRunning)
	if diff := cmp.Diff(result{exitOwn, "", "kindling: no machine called none is running\n"}, kindling("snapshot", "none", filepath.Join(parent, "x"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	must(t, "stop", "web")
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}

func TestCopySparse(t *testing.T) {
	const size = 5*snapshotBlock + 7
	source := filepath.Join(t.TempDir(), "source")
	file, err := os.Create(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, text := range map[int64]string{0: "a", 2*snapshotBlock - 1: "bc", size - 1: "d"} {
		if _, err := file.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "target")
	got, err := copySparse(t.Context(), target, source)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(target)
	if err != nil || string(copied) != string(want) {
		t.Errorf("the copy differs (%v)", err)
	}
	// How a file is stored does not matter.
	full := filepath.Join(t.TempDir(), "full")
	if err := os.WriteFile(full, want, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := copySparse(t.Context(), "", full)
	if err != nil || again.Size != got.Size || again.Digest != got.Digest {
		t.Errorf("got %+v, %v, want what is in %+v", again, err, got)
	}
	if _, err := copySparse(t.Context(), target, source); err == nil {
		t.Error("an existing file was replaced")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := copySparse(cancelled, "", source); err == nil {
		t.Error("got no error of a caller that has gone")
	}
}

// The manifest's form is a promise.
func TestSnapshotManifest(t *testing.T) {
	_, _ = newSnapshotHost(t)
	dir := filepath.Join(t.TempDir(), "snapshot")
	must(t, "snapshot", "web", dir)
	must(t, "rm", "-f", "web")
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		t.Fatal(err)
	}
	var s snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	if s.Memory.Size != int64(len(qemutest.MachineState)) {
		t.Errorf("memory has %d bytes, want those of %q", s.Memory.Size, qemutest.MachineState)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "taken", "boot", "accel", "memory_mib", "cpus", "network", "stop_signal", "name", "image", "command", "env", "volumes", "memory", "disks"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("key %s is missing", key)
		}
		delete(keys, key)
	}
	for key := range keys {
		t.Errorf("key %s is new", key)
	}
}
