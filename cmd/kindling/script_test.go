package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/internal/kernelimage/kerneltest"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/qemu/qemutest"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

// TestScript runs the scripts in testdata/script, one a verb. What is not in
// their own files is what writeParts writes; the programs are those of TestMain.
func TestScript(t *testing.T) {
	programs := qemutest.Use(t, "qemu-system-x86_64", "vhost-device-vsock", "kindling")
	t.Cleanup(func() { programs.AwaitGone(t) })
	parts := t.TempDir()
	vars := append(writeParts(t, parts), qemutest.AliveEnv+"="+os.Getenv(qemutest.AliveEnv))
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		UpdateScripts:      *update,
		RequireUniqueNames: true,
		Setup:              func(env *testscript.Env) error { return setUpScript(env, parts, vars) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits,
			"help":  scriptHelp,
			"guest": scriptGuest,
			"lose":  scriptLose,
			"claim": scriptClaim,
			"chop":  scriptChop,
		},
	})
}

// writeParts writes what scripts find in their folder, and gives the variables
// that name the sets in it, and BOOTED, which machines boot from and which is in
// the folder ARTIFACTS:
//
//	set, other   sets for both architectures, SET and OTHER
//	one          a set for x86_64 only
//	liar, huge.json  what is no set
//	before, after, bzImage, Image.gz, nothing  see writeArtifactSides
//	release.pem, other.pem, and their *.pub.pem  keys
func writeParts(t *testing.T, dir string) (vars []string) {
	t.Helper()
	set := writeSet(t, filepath.Join(dir, "set"), "one")
	other := writeSet(t, filepath.Join(dir, "other"), "two")
	writeSetOf(t, filepath.Join(dir, "one"), "one", kerneltest.VMLinux(kerneltest.PVH()), "x86_64")
	writeFile(t, filepath.Join(dir, "liar", "manifest.json"), []byte("{}"))
	writeFile(t, filepath.Join(dir, "huge.json"), append([]byte("{"), make([]byte, maxManifest)...))
	writeArtifactSides(t, dir)
	writeKeys(t, filepath.Join(dir, "release"), 1)
	writeKeys(t, filepath.Join(dir, "other"), 2)
	artifacts := writeArtifacts(t)
	booted, err := system.Open(artifacts, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"SET=" + set.id, "OTHER=" + other.id, "BOOTED=" + booted.ID,
		"KINDLING_ARTIFACTS=" + artifacts, "ARTIFACTS=" + filepath.Dir(artifacts), "KINDLING_ACCEL=tcg",
	}
}

// setUpScript gives a script a data directory, a state folder, a registry and
// nothing of the user's.
func setUpScript(env *testscript.Env, parts string, vars []string) error {
	// A Unix socket's address is too short for WORK.
	state, err := os.MkdirTemp("/tmp", "k")
	if err != nil {
		return err
	}
	registry := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)))
	env.Defer(func() {
		registry.Close()
		if err := endMachines(state); err != nil {
			env.T().Log(err)
			env.T().FailNow()
		}
	})
	env.Vars = append(env.Vars, vars...)
	env.Vars = append(env.Vars, "KINDLING_STATE_DIR="+state, "KINDLING_CACHE_DIR="+filepath.Join(state, "cache"), "KINDLING_DATA_DIR="+filepath.Join(env.WorkDir, "data"),
		"DOCKER_CONFIG="+env.WorkDir, "REGISTRY="+strings.TrimPrefix(registry.URL, "http://"))
	return os.CopyFS(env.WorkDir, os.DirFS(parts))
}

// endMachines removes a script's machines. One that still runs is an error, as is
// one that has not been released.
func endMachines(state string) error {
	machines, err := findMachines(state)
	errs := []error{err}
	for _, m := range machines {
		switch m.State {
		case stateRunning:
			errs = append(errs, fmt.Errorf("machine %s still runs", m.Name), killOwner(state, m.Name))
		case stateLost:
			errs = append(errs, fmt.Errorf("machine %s is lost", m.Name))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(state))...)
}

// killOwner kills the process of a machine and waits for its end.
func killOwner(state, name string) (err error) {
	process, err := owner(state, name)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil {
		return err
	}
	lock, err := os.Open(filepath.Join(state, locksFolder, name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return unix.Flock(int(lock.Fd()), unix.LOCK_SH)
}

// scriptExits is the command
//
//	exits CODE PROGRAM [ARG...]
//
// which fails unless the program ends with that exit code. In the output, names
// stand for what differs from run to run.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	stdout, stderr := lastingText(ts, ts.ReadFile("stdout")), lastingText(ts, ts.ReadFile("stderr"))
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	if got != want {
		ts.Fatalf("exit code is %d, want %d", got, want)
	}
}

var (
	timeInOutput = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	pidInOutput  = regexp.MustCompile(`"pid": \d+`)
)

// lastingText is output without what differs from run to run.
func lastingText(ts *testscript.TestScript, text string) string {
	for _, name := range []string{"WORK", "KINDLING_STATE_DIR", "REGISTRY", "BOOTED", "ARTIFACTS"} {
		text = strings.ReplaceAll(text, ts.Getenv(name), "$"+name)
	}
	return pidInOutput.ReplaceAllString(timeInOutput.ReplaceAllString(text, "TIME"), `"pid": PID`)
}

// scriptHelp is the command
//
//	help [VERB...]
//
// which compares a verb's help with its file in testdata.
func scriptHelp(ts *testscript.TestScript, neg bool, verb []string) {
	if neg {
		ts.Fatalf("unsupported: ! help")
	}
	path := filepath.Join("testdata", strings.Join(append([]string{"help"}, verb...), "_")+".txt")
	for _, args := range [][]string{append(verb[:len(verb):len(verb)], "--help"), append([]string{"help"}, verb...)} {
		if err := ts.Exec("kindling", args...); err != nil || ts.ReadFile("stderr") != "" {
			ts.Fatalf("%q: error %v, want help on stdout alone", args, err)
		}
		got := ts.ReadFile("stdout")
		if *update {
			ts.Check(os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		ts.Check(err)
		if diff := cmp.Diff(string(want), got); diff != "" {
			ts.Fatalf("%q (-%s +got; go test ./cmd/kindling -update writes it):\n%s", args, path, diff)
		}
	}
}

// scriptGuest is the command
//
//	guest ends|runs CODE FILE
//
// which has machines print a file and end with an exit code: by themselves, or
// when they are stopped.
func scriptGuest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: guest ends|runs CODE FILE")
	}
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	end := sentinel(code, contract.NewExitInfo(code).Message)
	output := started + strings.ReplaceAll(ts.ReadFile(args[2]), "\n", "\r\n")
	switch args[0] {
	case "ends":
		ts.Setenv(serialEnv, output+end+powered)
		ts.Setenv(stoppedEnv, "")
	case "runs":
		ts.Setenv(serialEnv, output)
		ts.Setenv(stoppedEnv, end+powered)
	default:
		ts.Fatalf("guest %s: want ends or runs", args[0])
	}
}

// scriptLose is the command
//
//	lose VM
//
// which kills a machine's process.
func scriptLose(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lose VM")
	}
	ts.Check(killOwner(ts.Getenv("KINDLING_STATE_DIR"), args[0]))
}

// scriptClaim is the command
//
//	claim VM
//
// which has a machine that is starting until the script ends.
func scriptClaim(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: claim VM")
	}
	_, release, err := claim(ts.Getenv("KINDLING_STATE_DIR"), args[0])
	ts.Check(err)
	ts.Defer(func() { ts.Check(release()) })
}

// scriptChop is the command
//
//	chop BYTES FILE
//
// which leaves as many bytes of a file.
func scriptChop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: chop BYTES FILE")
	}
	size, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[1]), size))
}
