package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMemoryGroup(t *testing.T) {
	root := t.TempDir()
	if _, err := newMemoryGroup(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without cgroup2: got error %v", err)
	}
	control := filepath.Join(root, "cgroup.subtree_control")
	if err := os.WriteFile(control, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one that is there is taken
		group, err := newMemoryGroup(root)
		if err != nil {
			t.Fatal(err)
		}
		defer group.dir.Close()
		if got, err := os.ReadFile(control); string(got) != "+memory" || err != nil {
			t.Errorf("controllers = %q, %v", got, err)
		}
		if _, err := group.kills(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without events: got error %v", err)
		}
	}
	tests := []struct {
		events  string
		want    int
		wantErr bool
	}{
		{"low 0\nhigh 0\nmax 5\noom 2\noom_kill 0\noom_group_kill 0\n", 0, false},
		{"oom 1\noom_kill 3\n", 3, false},
		{"oom 1\n", 0, true},
		{"oom_kill x\n", 0, true},
	}
	group, err := newMemoryGroup(root)
	if err != nil {
		t.Fatal(err)
	}
	defer group.dir.Close()
	for _, test := range tests {
		if err := os.WriteFile(filepath.Join(group.dir.Name(), "memory.events"), []byte(test.events), 0o644); err != nil {
			t.Fatal(err)
		}
		m := &machine{group: group}
		killed, err := m.outOfMemory(nil, 7)
		if killed != (test.want > 0) || (err != nil) != test.wantErr {
			t.Errorf("%q: got %v, %v, want %d kills", test.events, killed, err, test.want)
		}
	}
}

func TestKilledIn(t *testing.T) {
	const kill = "3,5,99,-;Out of memory: Killed process 7 (hog) total-vm:1kB\n"
	tests := []struct {
		name    string
		records []any // texts and errors
		want    bool
		wantErr error
	}{
		{"none", nil, false, nil},
		{"killed", []any{"6,1,2,-;boot\n", kill}, true, nil},
		{"by the limit of a cgroup", []any{"3,5,99,-;Memory cgroup out of memory: Killed process 7 (hog) total-vm:1kB\n"}, true, nil},
		{"another process", []any{"3,5,99,-;Out of memory: Killed process 77 (hog) total-vm:1kB\n", "3,6,99,-;Out of memory: Killed process 17 (x)\n"}, false, nil},
		{"a program's own record", []any{"11,5,99,-;Out of memory: Killed process 7 (hog) total-vm:1kB\n"}, false, nil},
		{"not a record", []any{"Killed process 7 (hog)"}, false, nil},
		{"records lost before it", []any{unix.EPIPE, unix.EINTR, kill}, true, nil},
		{"fails", []any{unix.EIO, kill}, false, unix.EIO},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := killedIn(func(record []byte) (int, error) {
				if len(test.records) == 0 {
					return -1, unix.EAGAIN
				}
				next := test.records[0]
				test.records = test.records[1:]
				if err, ok := next.(error); ok {
					return -1, err
				}
				return copy(record, next.(string)), nil
			}, 7)
			if got != test.want || !errors.Is(err, test.wantErr) {
				t.Errorf("got %v, %v, want %v, %v", got, err, test.want, test.wantErr)
			}
		})
	}
}

// TestOutOfMemoryWithoutWitness checks that nothing is claimed, at once, where
// nothing can be known.
func TestOutOfMemoryWithoutWitness(t *testing.T) {
	m := &machine{}
	if killed, err := m.outOfMemory(nil, 7); killed || err != nil {
		t.Errorf("got %v, %v", killed, err)
	}
}
