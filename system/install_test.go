package system

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kindling-vm/kindling/system/bundle"
)

func TestInstall(t *testing.T) {
	set := makeSet(t, 1)
	s := NewStore(filepath.Join(t.TempDir(), "data dir"), Options{Sources: []Source{Dir(set.dir)}})
	in, err := s.Install(t.Context(), "", "x86_64", "aarch64")
	if err != nil {
		t.Fatal(err)
	}
	if in.ID != set.id || len(in.Fetched) != 6 {
		t.Errorf("Install = %+v, want %s and six files", in, set.id)
	}
	for _, arch := range []string{"x86_64", "aarch64"} {
		got, err := s.Resolve(t.Context(), set.id, arch)
		if err != nil {
			t.Fatal(err)
		}
		if got.Arch != arch || got.KernelVersion != "linux-6.1.0-50-cloud" || filepath.Base(got.Kernel) != "vmlinux" {
			t.Errorf("Resolve for %s = %+v", arch, got)
		}
		if info, err := os.Stat(got.Kernel); err != nil || info.Mode() != 0o755 {
			t.Errorf("kernel: mode %v, error %v, want 0755", info.Mode(), err)
		}
	}
	before := tree(t, s.dataDir)
	if again, err := s.Install(t.Context(), set.id, "x86_64", "aarch64"); err != nil || len(again.Fetched) != 0 {
		t.Errorf("second Install = %+v, %v, want nothing fetched", again, err)
	}
	if names := differ(before, tree(t, s.dataDir)); len(names) > 0 {
		t.Errorf("second Install changed %v", names)
	}
	for name := range before {
		if strings.Contains(name, "/tmp/") || strings.HasSuffix(name, "_vmlinux") {
			t.Errorf("Install left %s", name)
		}
	}
}

func TestInstallFromTar(t *testing.T) {
	set := makeSet(t, 1)
	for _, prefix := range []string{"./", "bundle/"} {
		archive := filepath.Join(t.TempDir(), "set.tar")
		file, err := os.Create(archive)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(file)
		err = filepath.WalkDir(set.dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			rel, err := filepath.Rel(set.dir, name)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if err := w.WriteHeader(&tar.Header{Name: prefix + rel, Mode: 0o644, Size: int64(len(data))}); err != nil {
				return err
			}
			_, err = w.Write(data)
			return err
		})
		if err := errors.Join(err, w.Close(), file.Close()); err != nil {
			t.Fatal(err)
		}
		s := NewStore(t.TempDir(), Options{Sources: []Source{Tar(archive)}})
		if _, err := s.Install(t.Context(), set.id); err != nil {
			t.Fatal(err)
		}
		got, err := s.Resolve(t.Context(), set.id, "")
		if err != nil {
			t.Fatal(err)
		}
		wantSet(t, got, set)
	}
	if _, err := NewStore(t.TempDir(), Options{Sources: []Source{Tar(set.dir + "/x86_64/initrd")}}).Install(t.Context(), ""); !errors.Is(err, ErrDownloadFailed) {
		t.Errorf("no tar archive: got error %v", err)
	}
}

func TestInstallLinks(t *testing.T) {
	set := makeSet(t, 1)
	source := filepath.Join(set.dir, set.file(bundle.Kernel).Name)
	// As the outputs of Bazel are.
	real := filepath.Join(set.dir, "real")
	if err := errors.Join(os.Rename(source, real), os.Symlink(real, source)); err != nil {
		t.Fatal(err)
	}
	s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(set.dir)}, Link: true})
	if _, err := s.Install(t.Context(), set.id); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resolve(t.Context(), set.id, "")
	if err != nil {
		t.Fatal(err)
	}
	wantSet(t, got, set)
	want, err := os.Stat(real)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(got.Kernel); err != nil || !os.SameFile(info, want) {
		t.Errorf("%s is not the file of the source: %v", got.Kernel, err)
	}
	writeFile(t, real, []byte("changed"))
	if _, err := s.Resolve(t.Context(), set.id, ""); err == nil || !strings.Contains(err.Error(), "is corrupt") {
		t.Errorf("changed by its other name: got error %v", err)
	}
	if _, err := s.Install(t.Context(), set.id); !errors.Is(err, ErrDownloadFailed) {
		t.Errorf("source changed: got error %v", err)
	}
}

// TestSetLatestOfOneArchitecture has files of the other one in place, as another
// set has them too.
func TestSetLatestOfOneArchitecture(t *testing.T) {
	both, one := makeSet(t, 1), makeSet(t, 2)
	s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(both.dir), Dir(one.dir)}})
	for _, install := range []struct {
		id     string
		arches []string
	}{{both.id, []string{"aarch64", "x86_64"}}, {one.id, []string{"x86_64"}}} {
		if _, err := s.Install(t.Context(), install.id, install.arches...); err != nil {
			t.Fatal(err)
		}
		if err := s.SetLatest(t.Context(), install.id); err != nil {
			t.Error(err)
		}
		if id, err := s.Latest(t.Context()); err != nil || id != install.id {
			t.Errorf("Latest = %s, %v, want %s", id, err, install.id)
		}
	}
	if _, err := s.Resolve(t.Context(), one.id, "aarch64"); !isNotInstalled(err) {
		t.Errorf("for an architecture that is not complete: got error %v", err)
	}
}

func TestResolveNeverSubstitutes(t *testing.T) {
	a, b := makeSet(t, 1), makeSet(t, 2)
	s := install(t, a, b)
	for _, latest := range []fakeSet{a, b} {
		if err := s.SetLatest(t.Context(), latest.id); err != nil {
			t.Fatal(err)
		}
		if id, err := s.Latest(t.Context()); err != nil || id != latest.id {
			t.Errorf("Latest = %s, %v, want %s", id, err, latest.id)
		}
		got, err := s.Resolve(t.Context(), a.id, "")
		if err != nil {
			t.Fatal(err)
		}
		wantSet(t, got, a)
	}
	if err := os.Remove(filepath.Join(s.dataDir, "system", location(GetArch(), a.file(bundle.Kernel)))); err != nil {
		t.Fatal(err)
	}
	_, err := s.Resolve(t.Context(), a.id, "")
	missing, ok := errors.AsType[*NotInstalledError](err)
	if !ok || missing.ID != a.id || len(missing.Missing) != 1 || missing.Missing[0] != "kernel" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its kernel: got error %v", err)
	}
	if want := "get them with kindling install " + a.id; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got error %v, want it to end in %q", err, want)
	}
	if _, err := s.Resolve(t.Context(), "sha256:"+strings.Repeat("0", 64), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown ID: got error %v", err)
	}
	for _, id := range []string{"", "latest", "sha256:../../etc", a.id + "0", strings.ToUpper(a.id)} {
		if _, err := s.Resolve(t.Context(), id, ""); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Resolve(%q): got error %v, want that it is no ID", id, err)
		}
	}
}

func TestCorruptFilesAreReplacedAndNeverUsed(t *testing.T) {
	set := makeSet(t, 1)
	for _, kind := range []bundle.Kind{bundle.Kernel, bundle.Initrd, bundle.KernelInfo} {
		t.Run(string(kind), func(t *testing.T) {
			s := install(t, set)
			name := filepath.Join(s.dataDir, "system", location(GetArch(), set.file(kind)))
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = file.WriteAt([]byte{set.bytes(t, kind)[7] ^ 1}, 7)
			// The time of modification can be set back, that of change cannot.
			if err := errors.Join(err, file.Close(), os.Chtimes(name, info.ModTime(), info.ModTime())); err != nil {
				t.Fatal(err)
			}
			offline := NewStore(s.dataDir, Options{})
			_, err = offline.Resolve(t.Context(), set.id, "")
			corrupt, ok := errors.AsType[*CorruptError](err)
			if !ok || corrupt.Path != name || corrupt.Want != set.file(kind).SHA256 {
				t.Fatalf("one bit flipped: got error %v", err)
			}
			if _, err := os.Stat(corrupt.Quarantine); err != nil {
				t.Errorf("quarantine: %v", err)
			}
			if files, err := offline.Verify(t.Context()); err == nil || len(files) != 3 {
				t.Errorf("Verify without source = %d files, %v, want 3 and an error", len(files), err)
			}
			files, err := s.Verify(t.Context(), set.id)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if file.Repaired != (file.File.Kind == kind) {
					t.Errorf("%s: repaired = %v", file.File.Kind, file.Repaired)
				}
			}
			got, err := s.Resolve(t.Context(), set.id, "")
			if err != nil {
				t.Fatal(err)
			}
			wantSet(t, got, set)
		})
	}
}

func TestInstallOnFullAndReadOnlyDisks(t *testing.T) {
	old, set := makeSet(t, 1), makeSet(t, 2)
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EXDEV} {
		t.Run(errno.Error(), func(t *testing.T) {
			s := install(t, old)
			before := tree(t, s.dataDir)
			at := 0
			for ; ; at++ {
				failing := NewStore(s.dataDir, Options{Sources: []Source{Dir(set.dir)}, fault: failAfter(at, errno)})
				_, err := failing.Install(t.Context(), set.id)
				if err == nil {
					break
				}
				storage, ok := errors.AsType[*StorageError](err)
				if !ok || !errors.Is(err, errno) || !strings.HasPrefix(storage.Path, s.dataDir) {
					t.Fatalf("at step %d: got error %v, want one that names path and cause", at, err)
				}
				got, err := s.Resolve(t.Context(), old.id, "")
				if err != nil {
					t.Fatalf("at step %d: old set: %v", at, err)
				}
				wantSet(t, got, old)
				if got, err := s.Resolve(t.Context(), set.id, ""); err == nil {
					wantSet(t, got, set) // only the last steps failed, after which it is installed
					if _, err := s.Collect(t.Context(), CollectOptions{Roots: []string{old.id}, Grace: NoGrace}); err != nil {
						t.Fatal(err)
					}
				}
				if names := differ(before, tree(t, s.dataDir)); len(names) > 0 {
					t.Fatalf("at step %d: leftovers %v", at, names)
				}
			}
			t.Logf("%d steps failed in turn", at)
			if at < 30 {
				t.Errorf("only %d steps could fail", at)
			}
		})
	}
}

func TestInstallChecksSpaceFirst(t *testing.T) {
	set := makeSet(t, 1)
	for i := range set.manifest.Architectures {
		for j := range set.manifest.Architectures[i].Files {
			if file := &set.manifest.Architectures[i].Files[j]; file.Kind == bundle.Kernel {
				file.Size = 1 << 60
			}
		}
	}
	data, err := set.manifest.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(set.dir, manifestName), data)
	s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(set.dir)}})
	_, err = s.Install(t.Context(), "")
	full, ok := errors.AsType[*StorageError](err)
	if !ok || full.Need < 1<<60 || full.Free <= 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got error %v", err)
	}
}

func TestInstallEndsWithItsContext(t *testing.T) {
	set := makeSet(t, 1)
	s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(set.dir)}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Install(ctx, set.id); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: got error %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	s.options.Progress = func(Progress) { cancel() }
	if _, err := s.Install(ctx, set.id); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while copying: got error %v", err)
	}
	if _, err := s.Resolve(t.Context(), set.id, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("afterwards: got error %v, want that it is not installed", err)
	}
}

func TestPreloadGoesOn(t *testing.T) {
	sets := []fakeSet{makeSet(t, 1), makeSet(t, 2), makeSet(t, 3)}
	s := NewStore(t.TempDir(), Options{Sources: []Source{Dir(sets[1].dir)}})
	err := s.Preload(t.Context(), []string{sets[0].id, sets[1].id, sets[2].id})
	if err == nil || strings.Count(err.Error(), "install artifact set") != 2 || strings.Contains(err.Error(), "set "+sets[1].id+": ") {
		t.Errorf("got error %v, want one for each of two sets", err)
	}
	if _, err := s.Resolve(t.Context(), sets[1].id, ""); err != nil {
		t.Error(err)
	}
}

func TestManyGoroutines(t *testing.T) {
	set := makeSet(t, 1)
	dataDir := t.TempDir()
	var group sync.WaitGroup
	var mu sync.Mutex
	fetched := 0
	for range 16 {
		group.Go(func() {
			s := NewStore(dataDir, Options{Sources: []Source{Dir(set.dir)}})
			in, err := s.Install(t.Context(), set.id)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			fetched += len(in.Fetched)
		})
	}
	group.Wait()
	if fetched != 3 {
		t.Errorf("%d files were copied, want each of three once", fetched)
	}
}
