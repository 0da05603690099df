package diskcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

const content = "content of a disk"

// maker makes disks and counts them.
type maker struct {
	cache *Cache
	made  atomic.Int32
}

func newMaker(t *testing.T, size int64) *maker {
	return &maker{cache: &Cache{Dir: filepath.Join(t.TempDir(), "cache"), Size: size}}
}

func (m *maker) write(path string) error {
	m.made.Add(1)
	return os.WriteFile(path, []byte(content), 0o600)
}

// get gets a disk and checks how many have been made so far.
func (m *maker) get(t *testing.T, id string, made int32) *Disk {
	t.Helper()
	disk, err := m.cache.Disk(t.Context(), id, m.write)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	if got, err := os.ReadFile(disk.Path); err != nil || string(got) != content {
		t.Errorf("disk %s holds %q, error %v, want %q", id, got, err, content)
	}
	if got := m.made.Load(); got != made {
		t.Errorf("%d disks were made, want %d", got, made)
	}
	return disk
}

func (m *maker) ids(t *testing.T) (ids []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.cache.Dir, disksFolder))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		ids = append(ids, entry.Name())
	}
	return ids
}

func TestDisk(t *testing.T) {
	m := newMaker(t, 1<<30)
	a := m.get(t, "a", 1)
	if again := m.get(t, "a", 1); again.Path != a.Path {
		t.Errorf("got disk %s, then %s", a.Path, again.Path)
	}
	m.get(t, "b", 2)
	info, err := os.Stat(m.cache.Dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder is %v, error %v, want it private", info, err)
	}
}

// TestDiskDamaged is about disks that are not as they were made.
func TestDiskDamaged(t *testing.T) {
	tests := []struct {
		name   string
		made   int32 // 1: it is used as it is
		change func(path string) error
	}{
		{"cut off", 2, func(path string) error { return os.Truncate(path, 3) }},
		{"other bytes", 2, func(path string) error { return os.WriteFile(path, []byte(strings.ToUpper(content)), 0o600) }},
		{"missing", 2, os.Remove},
		{"no record", 2, func(path string) error { return os.Remove(filepath.Join(filepath.Dir(path), recordFile)) }},
		{"no JSON", 2, func(path string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(path), recordFile), nil, 0o600)
		}},
		{"other time", 1, func(path string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) }},
		{"copied", 1, func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte(content), 0o600))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMaker(t, 1<<30)
			disk := m.get(t, "a", 1)
			if err := errors.Join(disk.Close(), test.change(disk.Path)); err != nil {
				t.Fatal(err)
			}
			m.get(t, "a", test.made)
			m.get(t, "a", test.made)
		})
	}
}

func TestDiskFails(t *testing.T) {
	m := newMaker(t, 1<<30)
	problem := errors.New("no such image")
	_, err := m.cache.Disk(t.Context(), "a", func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), problem)
	})
	if !errors.Is(err, problem) {
		t.Errorf("got error %v, want %v", err, problem)
	}
	if diff := cmp.Diff([]string(nil), m.ids(t)); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	m.get(t, "a", 1)
}

// TestDiskConcurrently is about many who ask for a disk at the same time, while
// the cache holds one disk only.
func TestDiskConcurrently(t *testing.T) {
	m := newMaker(t, 0)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			disk, err := m.cache.Disk(t.Context(), fmt.Sprint(i%2), m.write)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(disk.Path); err != nil || string(got) != content {
				t.Errorf("disk holds %q, error %v, want %q", got, err, content)
			}
			if err := disk.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestDiskOnce(t *testing.T) {
	m := newMaker(t, 1<<30)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			disk, err := m.cache.Disk(t.Context(), "a", m.write)
			if err == nil {
				err = disk.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := m.made.Load(); got != 1 {
		t.Errorf("%d disks were made, want 1", got)
	}
}

func TestDiskCanceled(t *testing.T) {
	m := newMaker(t, 1<<30)
	lock, err := lockFolder(t.Context(), filepath.Join(m.cache.Dir, disksFolder, "a"), unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := m.cache.Disk(ctx, "a", m.write); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestTrim(t *testing.T) {
	m := newMaker(t, 0)
	old := m.get(t, "old", 1)
	m.get(t, "in use", 2)
	killed := filepath.Join(m.cache.Dir, disksFolder, "killed")
	if err := errors.Join(os.Mkdir(killed, 0o700), os.WriteFile(filepath.Join(killed, ".root.ext4123"), nil, 0o600), old.Close()); err != nil {
		t.Fatal(err)
	}
	m.get(t, "new", 3)
	if diff := cmp.Diff([]string{"in use", "new"}, m.ids(t)); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
}

// TestTrimLeastRecentlyUsed is about a cache with a place for two disks.
func TestTrimLeastRecentlyUsed(t *testing.T) {
	const block = 4096
	m := newMaker(t, 2*block)
	for i, id := range []string{"a", "b"} {
		if err := m.get(t, id, int32(i+1)).Close(); err != nil {
			t.Fatal(err)
		}
		used := time.Unix(int64(1000+i), 0)
		if err := os.Chtimes(filepath.Join(m.cache.Dir, disksFolder, id, recordFile), used, used); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.get(t, "a", 2).Close(); err != nil { // now the newest
		t.Fatal(err)
	}
	m.get(t, "c", 3)
	if diff := cmp.Diff([]string{"a", "c"}, m.ids(t)); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
}

func TestDocuments(t *testing.T) {
	cache := &Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	digest := func(i int) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", i)} }
	if _, err := cache.Get(digest(0)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrNotExist)
	}
	for i := range maxDocuments + 2 {
		if err := cache.Put(digest(i), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	last := maxDocuments + 1
	if got, err := cache.Get(digest(last)); err != nil || string(got) != fmt.Sprint(last) {
		t.Errorf("got %q, error %v, want %d", got, err, last)
	}
	entries, err := os.ReadDir(filepath.Join(cache.Dir, documentsFolder))
	if err != nil || len(entries) != maxDocuments {
		t.Errorf("got %d documents, error %v, want %d", len(entries), err, maxDocuments)
	}
}
