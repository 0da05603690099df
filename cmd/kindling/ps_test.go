package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecordHasNoSecrets(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("", 0))
	if got := kindling("run", "--name", "web", "-e", "TOKEN=secret-value"); got.Code != 0 {
		t.Fatalf("got %+v", got)
	}
	got := kindling("inspect", "web")
	if !strings.Contains(got.Stdout, `"TOKEN"`) || strings.Contains(got.Stdout, "secret-value") {
		t.Errorf("got %s, want the variable's name only", got.Stdout)
	}
	err := filepath.WalkDir(h.state, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "secret-value") {
			t.Errorf("%s has the value", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRunFailureIsRecorded(t *testing.T) {
	newHost(t)
	t.Setenv(failureEnv, "cannot set up guest memory")
	if got := kindling("run", "--name", "web"); got.Code != exitOwn {
		t.Fatalf("got %+v", got)
	}
	m := machine{}
	if err := json.Unmarshal([]byte(kindling("inspect", "web").Stdout), &m); err != nil {
		t.Fatal(err)
	}
	if m.State != stateExited || m.ExitCode == nil || *m.ExitCode != exitOwn || !strings.Contains(m.Error, "cannot set up guest memory") {
		t.Errorf("got %+v, want the failure in it", m)
	}
}

func TestRunRemoves(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("hi\r\n", 3))
	if diff := cmp.Diff(result{3, "hi\n", ""}, kindling("run", "--name", "web", "--rm")); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(result{0, "", ""}, kindling("ps", "-a", "-o", "id")); diff != "" {
		t.Errorf("ps (-want +got):\n%s", diff)
	}
	h.requireReleased(t)
}

func TestNameIsUsedAgain(t *testing.T) {
	newHost(t)
	for _, output := range []string{"one", "two"} {
		t.Setenv(serialEnv, exited(output+"\r\n", 0))
		if got := kindling("run", "--name", "web"); got.Code != 0 {
			t.Fatalf("run: got %+v", got)
		}
		if diff := cmp.Diff(result{0, output + "\n", ""}, kindling("logs", "web")); diff != "" {
			t.Errorf("logs (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("ps", "-a", "-o", "id")); diff != "" {
		t.Errorf("ps (-want +got):\n%s", diff)
	}
}

func TestPruneKeepsTheLatest(t *testing.T) {
	h := newHost(t)
	begin := time.Now()
	for i := range keptMachines + 3 {
		name := filepath.Join(h.state, endedFolder, "vm-"+string(rune('a'+i)))
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := (&record{Name: filepath.Base(name)}).write(name); err != nil {
			t.Fatal(err)
		}
		at := begin.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(filepath.Join(name, recordFile), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(h.state, endedFolder, "mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := prune(h.state); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(kindling("ps", "-a", "-o", "id").Stdout)
	if len(got) != keptMachines || got[0] != "vm-d" {
		t.Errorf("got %q, want the latest %d", got, keptMachines)
	}
	if _, err := os.Stat(filepath.Join(h.state, endedFolder, "mine")); err != nil {
		t.Error(err)
	}
}
