package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
)

var kills = flag.Int("kills", 40, "`number` of points at which TestKilledInstall kills an install")

const helperEnv = "KINDLING_SYSTEM_TEST_HELPER"

// helperInstall is what a process of a test does: install a set.
type helperInstall struct {
	DataDir string
	Address string // of a web server, or
	Folder  string
	ID      string
	Arches  []string
	Wait    bool // for the end of its input
	KillAt  int  // kill itself before that step that changes the disk; 0: never
}

func TestMain(m *testing.M) {
	if task := os.Getenv(helperEnv); task != "" {
		if err := runHelper(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

func runHelper(task string) error {
	var h helperInstall
	if err := json.Unmarshal([]byte(task), &h); err != nil {
		return err
	}
	source := Dir(h.Folder)
	if h.Address != "" {
		var err error
		if source, err = HTTP(h.Address, HTTPOptions{}); err != nil {
			return err
		}
	}
	var step atomic.Int64
	s := NewStore(h.DataDir, Options{Sources: []Source{source}, fault: func(string, string) error {
		if step.Add(1) == int64(h.KillAt) {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}})
	if h.Wait {
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			return err
		}
	}
	start := time.Now()
	in, err := s.Install(context.Background(), h.ID, h.Arches...)
	if err != nil {
		return err
	}
	if err := s.SetLatest(context.Background(), in.ID); err != nil {
		return err
	}
	fmt.Println(len(in.Fetched), time.Since(start).Milliseconds())
	return nil
}

func helperProcess(t testing.TB, h helperInstall) *exec.Cmd {
	t.Helper()
	task, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), executable)
	cmd.Env = append(os.Environ(), helperEnv+"="+string(task))
	return cmd
}

func TestManyProcesses(t *testing.T) {
	const processes = 32
	set := makeSizedSet(t, 1, map[bundle.Kind]int{bundle.Kernel: 5 << 20, bundle.Initrd: 3 << 20})
	var mu sync.Mutex
	asked, sent := map[string]int{}, int64(0)
	files := http.StripPrefix("/set", http.FileServer(http.Dir(set.dir)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counting := &countingWriter{ResponseWriter: w}
		files.ServeHTTP(counting, r)
		mu.Lock()
		defer mu.Unlock()
		asked[r.URL.Path]++
		sent += counting.bytes
	}))
	defer server.Close()
	dataDir := t.TempDir()
	gate, open, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var started []*exec.Cmd
	var outputs [processes]bytes.Buffer
	for i := range processes {
		helper := helperProcess(t, helperInstall{DataDir: dataDir, Address: server.URL + "/set", ID: set.id, Wait: true})
		helper.Stdin, helper.Stdout, helper.Stderr = gate, &outputs[i], &outputs[i]
		if err := helper.Start(); err != nil {
			t.Fatal(err)
		}
		started = append(started, helper)
	}
	start := time.Now()
	if err := errors.Join(gate.Close(), open.Close()); err != nil {
		t.Fatal(err)
	}
	var times []int
	fetched := 0
	for i, helper := range started {
		if err := helper.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, outputs[i].String())
			continue
		}
		var n, milliseconds int
		if _, err := fmt.Sscan(outputs[i].String(), &n, &milliseconds); err != nil {
			t.Fatal(err)
		}
		fetched += n
		times = append(times, milliseconds)
	}
	slices.Sort(times)
	t.Logf("%d processes in %s; each %d to %d ms; %d files and %d bytes sent", processes, time.Since(start).Round(time.Millisecond),
		times[0], times[len(times)-1], fetched, sent)
	if fetched != 3 {
		t.Errorf("%d files were put in place, want each of three once", fetched)
	}
	for path, n := range asked {
		if n != 1 && !strings.HasSuffix(path, manifestName) {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
	alone := NewStore(t.TempDir(), Options{Sources: []Source{Dir(set.dir)}})
	if _, err := alone.Install(t.Context(), set.id); err != nil {
		t.Fatal(err)
	}
	if err := alone.SetLatest(t.Context(), set.id); err != nil {
		t.Fatal(err)
	}
	if names := differ(tree(t, alone.dataDir), tree(t, dataDir)); len(names) > 0 {
		t.Errorf("other than with one process: %v", names)
	}
}

type countingWriter struct {
	http.ResponseWriter
	bytes int64
}

func (w *countingWriter) Write(data []byte) (int, error) {
	w.bytes += int64(len(data))
	return w.ResponseWriter.Write(data)
}

func TestKilledInstall(t *testing.T) {
	old := makeSet(t, 1)
	set := makeSizedSet(t, 2, map[bundle.Kind]int{bundle.Kernel: 3 << 20, bundle.Initrd: 2 << 20})
	s := install(t, old)
	if err := s.SetLatest(t.Context(), old.id); err != nil {
		t.Fatal(err)
	}
	before := tree(t, s.dataDir)
	var steps atomic.Int64
	counting := NewStore(s.dataDir, Options{Sources: []Source{Dir(set.dir)}, fault: func(string, string) error {
		steps.Add(1)
		return nil
	}})
	putIn := func(s *Store) {
		t.Helper()
		if _, err := s.Install(t.Context(), set.id); err != nil {
			t.Fatal(err)
		}
		if err := s.SetLatest(t.Context(), set.id); err != nil {
			t.Fatal(err)
		}
	}
	putIn(counting)
	after := tree(t, s.dataDir)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d, %d steps", seed, steps.Load())
	absent, complete := 0, 0
	for range *kills {
		// Back to the old set, which must not leave anything of the other.
		if err := s.SetLatest(t.Context(), old.id); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Collect(t.Context(), CollectOptions{Grace: NoGrace}); err != nil {
			t.Fatal(err)
		}
		if names := differ(before, tree(t, s.dataDir)); len(names) > 0 {
			t.Fatalf("Collect left %v", names)
		}
		at := 1 + random.IntN(int(steps.Load()))
		helper := helperProcess(t, helperInstall{DataDir: s.dataDir, Folder: set.dir, ID: set.id, KillAt: at})
		out, err := helper.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
			t.Fatalf("killed at step %d: %v\n%s", at, err, out)
		}
		got, err := s.Resolve(t.Context(), old.id, "")
		if err != nil {
			t.Fatalf("killed at step %d: old set: %v", at, err)
		}
		wantSet(t, got, old)
		latest, err := s.Latest(t.Context())
		if err != nil {
			t.Fatalf("killed at step %d: %v", at, err)
		}
		got, err = s.Resolve(t.Context(), set.id, "")
		switch {
		case err == nil:
			complete++
			wantSet(t, got, set)
		case errors.Is(err, fs.ErrNotExist) && latest == old.id:
			absent++
		default:
			t.Fatalf("killed at step %d: neither absent nor complete: latest is %s, error %v", at, latest, err)
		}
		putIn(NewStore(s.dataDir, Options{Sources: []Source{Dir(set.dir)}}))
		if names := differ(after, tree(t, s.dataDir)); len(names) > 0 {
			t.Fatalf("killed at step %d: after the next run: %v", at, names)
		}
	}
	t.Logf("%d kills: %d times absent, %d times complete", *kills, absent, complete)
}
