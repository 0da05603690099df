package datadir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

func create(t *testing.T) *Dir {
	t.Helper()
	d, err := Create(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestOpenRefusesWhatAllMayWrite(t *testing.T) {
	parent := t.TempDir()
	for _, test := range []struct {
		name         string
		mode         fs.FileMode
		itself, data error // of the folder, and of one in it
	}{
		{"own", 0o755, nil, nil},
		{"group", 0o775, nil, nil},
		{"all", 0o777, ErrUnsafe, ErrUnsafe},
		{"sticky", 0o777 | fs.ModeSticky, ErrUnsafe, nil},
	} {
		folder := filepath.Join(parent, test.name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(folder, test.mode); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(parent, test.name+" link")
		if err := os.Symlink(filepath.Join(folder, "data"), link); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			dataDir string
			want    error
		}{{folder, test.itself}, {filepath.Join(folder, "data"), test.data}, {link, test.data}} {
			d, err := Create(test.dataDir, nil)
			if !errors.Is(err, test.want) {
				t.Errorf("%s: got error %v, want %v", test.dataDir, err, test.want)
			}
			if err == nil {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if _, err := Open(filepath.Join(parent, "nothing"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: got error %v", err)
	}
}

func TestModesDoNotFollowTheUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	d := create(t)
	if err := d.WriteFile("a/b/c", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"a": fs.ModeDir | 0o755, "a/b": fs.ModeDir | 0o755, "a/b/c": 0o644} {
		if info, err := os.Stat(d.Path(name)); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, error %v, want %v", name, info.Mode(), err, want)
		}
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	d := create(t)
	if err := d.WriteFile("real/file", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"folder": "real", "file": "real/file", "loop": "loop"} {
		if err := os.Symlink(target, d.Path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(d.Path("fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"folder/file", "file", "loop", "fifo", "real"} {
		if _, err := d.ReadFile(name, 10); !errors.Is(err, ErrUnsafe) {
			t.Errorf("read %s: got error %v", name, err)
		}
	}
	if err := d.WriteFile("folder/new", nil, 0o644); !errors.Is(err, ErrUnsafe) {
		t.Errorf("write below a link: got error %v", err)
	}
	if _, err := d.List("folder"); !errors.Is(err, ErrUnsafe) {
		t.Errorf("list a link: got error %v", err)
	}
	// What is put in a link's place replaces the link.
	if err := d.WriteFile("file", []byte("y"), 0o644); err != nil {
		t.Fatal(err)
	}
	if data, err := d.ReadFile("real/file", 10); err != nil || string(data) != "x" {
		t.Errorf("behind the link is %q, %v", data, err)
	}
	if _, err := d.ReadFile("real/file", 0); err == nil {
		t.Error("file above the limit: no error")
	}
}

func TestReadersOfALinkSeeOldOrNew(t *testing.T) {
	d := create(t)
	if err := d.Symlink("0", "latest"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if target, err := d.ReadLink("latest"); err != nil || target != "0" && target != "1" {
					t.Errorf("latest leads to %q, %v", target, err)
					return
				}
			}
		})
	}
	for i := range 200 {
		if err := d.Symlink(string(rune('0'+i%2)), "latest"); err != nil {
			t.Error(err)
		}
	}
	close(done)
	group.Wait()
	if names, err := d.List("tmp"); err != nil || len(names) != 0 {
		t.Errorf("left %v, %v", names, err)
	}
}

func TestSweepTakesOnlyWhatNobodyOwns(t *testing.T) {
	d := create(t)
	mine, err := d.Temp()
	if err != nil {
		t.Fatal(err)
	}
	held, err := d.Lock(t.Context(), "held")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x", d.Path(mine.name+linkSuffix)); err != nil {
		t.Fatal(err)
	}
	// What dead processes left: it is not locked.
	for _, name := range []string{"tmp/dead", "locks/dead"} {
		if err := os.WriteFile(d.Path(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tmp/dead.link", "tmp/gone.link"} {
		if err := os.Symlink("x", d.Path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]int{"tmp": 2, "locks": 1} {
		if names, err := d.List(folder); err != nil || len(names) != want {
			t.Errorf("%s has %v, %v, want %d", folder, names, err, want)
		}
	}
	if err := errors.Join(mine.Discard(), held.Unlock()); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"tmp", "locks"} {
		if names, err := d.List(folder); err != nil || len(names) != 0 {
			t.Errorf("%s has %v, %v, want nothing", folder, names, err)
		}
	}
}

func TestLocks(t *testing.T) {
	d := create(t)
	// Each adds one without being atomic.
	count := 0
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			held, err := d.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			count++
			if err := held.Unlock(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if count != 50 {
		t.Errorf("count = %d, want 50", count)
	}
	first, err := d.LockShared(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.LockShared(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if held, err := d.TryLock("a"); err != nil || held != nil {
		t.Errorf("exclusive beside shared: %v, %v", held, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := d.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: got error %v", err)
	}
	if err := errors.Join(first.Unlock(), second.Unlock()); err != nil {
		t.Fatal(err)
	}
	if held, err := d.TryLock("a"); err != nil || held == nil {
		t.Errorf("when all are gone: %v, %v", held, err)
	}
}

func TestHold(t *testing.T) {
	d := create(t)
	if err := d.WriteFile("set", nil, 0o444); err != nil {
		t.Fatal(err)
	}
	file, err := d.Hold(t.Context(), "set")
	if err != nil {
		t.Fatal(err)
	}
	if claimed, err := d.Claim("set"); err != nil || claimed != nil {
		t.Errorf("claim of what is held: %v, %v", claimed, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	claimed, err := d.Claim("set")
	if err != nil || claimed == nil {
		t.Fatalf("claim: %v, %v", claimed, err)
	}
	// Who wants to hold it waits, and finds it gone.
	held := make(chan error)
	go func() {
		_, err := d.Hold(t.Context(), "set")
		held <- err
	}()
	if err := errors.Join(d.Remove("set"), claimed.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-held; !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("held while it was removed: got error %v", err)
	}
}

func TestFreeAndMissing(t *testing.T) {
	d := create(t)
	if free, err := d.Free(); err != nil || free <= 0 {
		t.Errorf("Free = %d, %v", free, err)
	}
	if names, err := d.List("nothing/at/all"); err != nil || names != nil {
		t.Errorf("List of nothing = %v, %v", names, err)
	}
	if err := errors.Join(d.Remove("nothing/at/all"), d.RemoveEmpty("nothing/at/all")); err != nil {
		t.Error(err)
	}
}
