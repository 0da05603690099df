package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

const (
	manifestName = "manifest.json"
	// partialDir is where unfinished files are, by their digest, for the next pull
	// to go on with.
	partialDir = ".partial"
)

// ErrBusy says that another pull works in the folder.
var ErrBusy = errors.New("another pull works in this folder")

// folder is where a set is pulled to. Nothing is read or written outside of it,
// whatever links it has.
type folder struct {
	root *os.Root
	lock *os.File // partialDir
}

// openFolder makes the folder if there is none and keeps others out of it.
func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{root: root}
	if f.lock, err = f.lockPartial(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

func (f *folder) lockPartial() (*os.File, error) {
	for {
		if err := f.root.Mkdir(partialDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err := f.root.Open(partialDir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrBusy
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		// Whoever had the lock before may have been done with the folder.
		same, err := f.isPartial(lock)
		if same || err != nil {
			return lock, err
		}
		if err := lock.Close(); err != nil {
			return nil, err
		}
	}
}

func (f *folder) isPartial(lock *os.File) (bool, error) {
	opened, err := lock.Stat()
	if err != nil {
		return false, err
	}
	named, err := f.root.Lstat(partialDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, named), err
}

func (f *folder) close() error {
	return errors.Join(f.lock.Close(), f.root.Close())
}

// checkNames refuses files that would take the place of others.
func checkNames(files []bundle.File) error {
	for _, file := range files {
		first, _, _ := strings.Cut(file.Name, "/")
		if first == manifestName || first == signature.FileName || first == partialDir {
			return fmt.Errorf("file %s has a name that is taken", file.Name)
		}
	}
	return nil
}

// has tells whether the file is there with its bytes.
func (f *folder) has(file bundle.File) (found bool, err error) {
	info, err := f.root.Lstat(file.Name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() != file.Size) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	opened, err := f.root.Open(file.Name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	hash := sha256.New()
	_, err = io.Copy(hash, opened)
	return hex.EncodeToString(hash.Sum(nil)) == file.SHA256, err
}

// openPart opens what there is of a file, to be read and then appended to.
func (f *folder) openPart(file bundle.File) (*os.File, error) {
	return f.root.OpenFile(f.partName(file), os.O_RDWR|os.O_CREATE, 0o600)
}

// partName tells files with the same bytes apart.
func (f *folder) partName(file bundle.File) string {
	return path.Join(partialDir, file.SHA256+"-"+hashOf([]byte(file.Name)).Hex[:16])
}

// place puts a whole file into its place, on disk as well.
func (f *folder) place(part *os.File, file bundle.File) error {
	if err := part.Chmod(0o644); err != nil {
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	dir := path.Dir(file.Name)
	if err := f.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := f.root.Rename(f.partName(file), file.Name); err != nil {
		return err
	}
	for ; dir != "."; dir = path.Dir(dir) {
		if err := f.syncDir(dir); err != nil {
			return err
		}
	}
	return f.syncDir(".")
}

func (f *folder) syncDir(name string) (err error) {
	dir, err := f.root.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return dir.Sync()
}

// write writes a small file, so that it appears complete or not at all.
func (f *folder) write(name string, data []byte) (err error) {
	file := bundle.File{Name: name, SHA256: hashOf(data).Hex}
	part, err := f.openPart(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, part.Close()) }()
	if err := part.Truncate(0); err != nil {
		return err
	}
	if _, err := part.Write(data); err != nil {
		return err
	}
	return f.place(part, file)
}

// checkManifest looks at the manifest that is there. One of another set is an
// error: the folder would be neither.
func (f *folder) checkManifest(want []byte) (err error) {
	file, err := f.root.Open(manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	got, err := io.ReadAll(io.LimitReader(file, maxDocument+1))
	if err != nil {
		return err
	}
	if string(got) != string(want) {
		return fmt.Errorf("folder has another artifact set, %s", hashOf(got))
	}
	return nil
}

// finish takes away what only a pull needs.
func (f *folder) finish() error {
	if err := f.root.RemoveAll(partialDir); err != nil {
		return err
	}
	return f.syncDir(".")
}
