// Package datadir changes files below {dataDir}/system so that they appear
// complete or not at all, whoever else works there and whenever the machine
// stops: temporary files with an owner, locks that end with their process, no
// step through a symbolic link.
//
// It does not know what the files are; package system does.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Folders of a Dir.
const (
	locks = "locks"
	temps = "tmp"
)

// Dir is the folder {dataDir}/system. Its methods take names below it, with
// slashes. It may be used by many goroutines.
type Dir struct {
	path string // as the caller writes it: {dataDir}/system
	root *os.Root
	// fault is asked before every step that changes the disk. Only tests set it.
	fault Fault
}

// Fault stands in for a disk that fails: an error that it returns is the error
// of the step, which is not done.
type Fault func(step, name string) error

// ErrUnsafe is in the chain of the error of a folder or file that others could
// have put where it is: a symbolic link, or below a folder that all may write.
var ErrUnsafe = errors.New("unsafe")

// Open opens the folder for reading. fs.ErrNotExist is in the chain of the
// error where there is none.
func Open(dataDir string, fault Fault) (*Dir, error) { return open(dataDir, false, fault) }

// Create opens the folder and makes it first where there is none.
func Create(dataDir string, fault Fault) (*Dir, error) { return open(dataDir, true, fault) }

func open(dataDir string, create bool, fault Fault) (dir *Dir, err error) {
	dataDir, err = filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	if create {
		if err := os.MkdirAll(dataDir, 0o755); err != nil {
			return nil, err
		}
	}
	// A data directory that is a link is its owner's choice; from here on every
	// name is below the one that was opened.
	real, err := filepath.EvalSymlinks(dataDir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{dataDir, real} {
		if err := checkWriters(name); err != nil {
			return nil, err
		}
	}
	data, err := os.OpenRoot(dataDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	outer := &Dir{path: dataDir, root: data, fault: fault}
	if create {
		if err := outer.MkdirAll("system"); err != nil {
			return nil, err
		}
	}
	if err := outer.folder("system"); err != nil {
		return nil, err
	}
	system, err := data.OpenRoot("system")
	if err != nil {
		return nil, err
	}
	d := &Dir{path: filepath.Join(dataDir, "system"), root: system, fault: fault}
	if err := checkWriters(d.path); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// checkWriters refuses a folder that anybody could put files into, or could have
// put where it is. In a sticky folder, as /tmp is, that is one of another user.
func checkWriters(name string) error {
	folder, err := os.Stat(name)
	if err != nil {
		return err
	}
	parent, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	const others = 0o002
	stat, ok := folder.Sys().(*syscall.Stat_t)
	isOwn := ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
	switch {
	case folder.Mode().Perm()&others != 0:
		return fmt.Errorf("open %s: everybody may write there (mode %v): %w", name, folder.Mode(), ErrUnsafe)
	case parent.Mode().Perm()&others != 0 && parent.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("open %s: everybody may write to %s (mode %v): %w", name, filepath.Dir(name), parent.Mode(), ErrUnsafe)
	case parent.Mode().Perm()&others != 0 && !isOwn:
		return fmt.Errorf("open %s: it is another user's, and everybody may write to %s: %w", name, filepath.Dir(name), ErrUnsafe)
	}
	return nil
}

// Close closes the folder. Files that were opened stay open.
func (d *Dir) Close() error { return d.root.Close() }

// Path is where a name stands for other programs.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

func (d *Dir) step(step, name string) error {
	if d.fault == nil {
		return nil
	}
	if err := d.fault(step, name); err != nil {
		return &fs.PathError{Op: step, Path: d.Path(name), Err: err}
	}
	return nil
}

// named gives an error of the root the path that other programs use.
func (d *Dir) named(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		err = link.Err
	} else if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return &fs.PathError{Op: op, Path: d.Path(name), Err: err}
}

// folder gives no error if a folder is there, and refuses what stands in its
// place.
func (d *Dir) folder(name string) error {
	info, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return d.named("open", name, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("open %s: it is a symbolic link: %w", d.Path(name), ErrUnsafe)
	case !info.IsDir():
		return d.named("open", name, syscall.ENOTDIR)
	}
	return nil
}

// plain refuses a name that leads through a symbolic link. The root would only
// refuse to leave the folder.
func (d *Dir) plain(name string) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := d.folder(name[:i]); err != nil {
			return err
		}
	}
	return nil
}

// MkdirAll makes a folder and those above it, with mode 0755 whatever the
// umask.
func (d *Dir) MkdirAll(name string) error {
	var made string
	for part := range strings.SplitSeq(name, "/") {
		made = path.Join(made, part)
		if err := d.folder(made); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			continue
		}
		if err := d.step("mkdir", made); err != nil {
			return err
		}
		if err := d.root.Mkdir(made, 0o755); errors.Is(err, fs.ErrExist) {
			continue // another process made it meanwhile
		} else if err != nil {
			return d.named("mkdir", made, err)
		}
		// The umask takes bits away. If another sweeps the empty folder away
		// meanwhile, who renames into it makes it again.
		if err := d.root.Chmod(made, 0o755); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d.named("chmod", made, err)
		}
	}
	return nil
}

// openFile opens what is no symbolic link itself; the root would follow one as
// long as it does not leave the folder.
func (d *Dir) openFile(name string, flags int, mode fs.FileMode) (*os.File, error) {
	if info, err := d.root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("open %s: it is a symbolic link: %w", d.Path(name), ErrUnsafe)
	}
	file, err := d.root.OpenFile(name, flags|syscall.O_NOFOLLOW, mode)
	return file, d.named("open", name, err)
}

// Open opens a regular file for reading.
func (d *Dir) Open(name string) (*os.File, error) {
	if err := d.plain(name); err != nil {
		return nil, err
	}
	// Not to wait for who writes into a FIFO.
	file, err := d.openFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: it is no regular file: %w", d.Path(name), ErrUnsafe)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Stat describes a regular file.
func (d *Dir) Stat(name string) (info fs.FileInfo, err error) {
	file, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return file.Stat()
}

// ReadFile reads a regular file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) (data []byte, err error) {
	file, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %s: it has more than %d bytes", d.Path(name), limit)
	}
	return data, err
}

// ReadLink gives the target of a symbolic link, which must be the name of its
// neighbour.
func (d *Dir) ReadLink(name string) (string, error) {
	if err := d.plain(name); err != nil {
		return "", err
	}
	target, err := d.root.Readlink(name)
	if err != nil {
		return "", d.named("readlink", name, err)
	}
	if target == "" || target == "." || target == ".." || strings.Contains(target, "/") {
		return "", fmt.Errorf("read %s: it leads to %q, want a name beside it: %w", d.Path(name), target, ErrUnsafe)
	}
	return target, nil
}

// List names what is in a folder, in order; nothing where there is none.
func (d *Dir) List(name string) (names []string, err error) {
	if err := d.plain(name + "/"); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(d.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // swept meanwhile
	}
	if err != nil {
		return nil, d.named("list", name, err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// IsDir reports whether there is a folder of that name.
func (d *Dir) IsDir(name string) bool {
	info, err := d.root.Lstat(name)
	return err == nil && info.IsDir()
}

// Remove removes a file, a link or a folder with all that is in it. It is no
// error if it is not there.
func (d *Dir) Remove(name string) error {
	if err := d.plain(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := d.step("remove", name); err != nil {
		return err
	}
	return d.named("remove", name, d.root.RemoveAll(name))
}

// RemoveEmpty removes a folder and those above it as far as nothing is in them.
func (d *Dir) RemoveEmpty(name string) error {
	for ; name != "."; name = path.Dir(name) {
		if !d.IsDir(name) {
			continue
		}
		if err := d.step("rmdir", name); err != nil {
			return err
		}
		err := d.root.Remove(name)
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d.named("remove", name, err)
		}
	}
	return nil
}

// Move renames a file or folder, into a folder that is made where it is missing.
func (d *Dir) Move(from, to string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.RemoveEmpty(path.Dir(to)))
		}
	}()
	for _, name := range []string{from, to} {
		if err := d.plain(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// The folder may be swept between the two steps as long as it is empty.
	for range 10 {
		if err = d.MkdirAll(path.Dir(to)); err != nil {
			return err
		}
		if err = d.step("rename", to); err != nil {
			return err
		}
		if err = d.root.Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return d.named("rename", to, err)
}

// SyncDir makes what happened in a folder survive a power cut.
func (d *Dir) SyncDir(name string) (err error) {
	if err := d.step("fsync", name); err != nil {
		return err
	}
	folder, err := d.root.Open(name)
	if err != nil {
		return d.named("open", name, err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	return d.named("fsync", name, folder.Sync())
}

// Touch sets the time of a regular file.
func (d *Dir) Touch(name string, to time.Time) error {
	if _, err := d.Stat(name); err != nil {
		return err
	}
	if err := d.step("touch", name); err != nil {
		return err
	}
	return d.named("touch", name, d.root.Chtimes(name, to, to))
}

// Free is how many bytes a caller may write here.
func (d *Dir) Free() (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(d.path, &stat); err != nil {
		return 0, d.named("statfs", ".", err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}
