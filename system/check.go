package system

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/kindling-vm/kindling/system/internal/datadir"
)

// record is what is known of a file since all of it was read. It is beside the
// file and only spares reading it again: where it is lost or does not fit, the
// file is read.
type record struct {
	Version int    `json:"version"` // 1
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"`
	// Of the file as it was. The change time is what nobody can set back.
	Modified int64  `json:"modified"` // nanoseconds since 1970
	Changed  int64  `json:"changed"`
	Inode    uint64 `json:"inode"`
	// Verity is the file's fs-verity digest, ALGORITHM:HEX, where it has one. The
	// kernel then vouches for every byte, and the times say nothing.
	Verity string `json:"verity,omitempty"`
	// Pinned tells that the digest was known before the file: from a manifest or
	// from the lock. That of an adopted file is only what it was then.
	Pinned bool `json:"pinned"`
}

const recordVersion = 1

func recordPath(name string) string {
	return path.Join(path.Dir(name), "."+path.Base(name)+recordSuffix)
}

// readRecord gives the record of a file, or nil.
func readRecord(d *datadir.Dir, name string) (*record, error) {
	data, err := d.ReadFile(recordPath(name), documentsLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil || r.Version != recordVersion {
		return nil, nil // cut off by a power failure, or another version's: reading the file tells
	}
	return &r, nil
}

// describe fills in what the file is now.
func (r *record) describe(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("stat %s: no inode", file.Name())
	}
	r.Version, r.Size, r.Inode = recordVersion, info.Size(), stat.Ino
	r.Modified, r.Changed = stat.Mtim.Nano(), stat.Ctim.Nano()
	r.Verity = verity(file)
	return nil
}

// fits reports whether the file is the one of the record, without reading it.
func (r *record) fits(now *record) bool {
	if r.Verity != "" {
		return r.Verity == now.Verity && r.Size == now.Size
	}
	return r.Size == now.Size && r.Modified == now.Modified && r.Changed == now.Changed && r.Inode == now.Inode
}

// verity is the digest that the kernel checks what is read from the file
// against, or "". See FS_IOC_MEASURE_VERITY in linux/fsverity.h.
func verity(file *os.File) string {
	var digest struct {
		algorithm, size uint16
		bytes           [64]byte
	}
	digest.size = uint16(len(digest.bytes))
	const measure = 0xc0046686
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), measure, uintptr(unsafe.Pointer(&digest)))
	if errno != 0 {
		return ""
	}
	return fmt.Sprintf("%d:%x", digest.algorithm, digest.bytes[:digest.size])
}

// wanted is what is known of a file beforehand; nothing where sha256 is empty.
type wanted struct {
	sha256 string
	full   bool // read the file, whatever is recorded
}

// check gives the record of a file that is what it should be. It reads the file
// only where it has changed since it was read last. The error of a file that is
// not is a *CorruptError.
func (s *Store) check(ctx context.Context, d *datadir.Dir, name string, want wanted) (_ *record, err error) {
	file, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	known, err := readRecord(d, name)
	if err != nil {
		return nil, err
	}
	now := &record{SHA256: want.sha256, Pinned: want.sha256 != ""}
	if err := now.describe(file); err != nil {
		return nil, err
	}
	if known != nil && !want.full && known.fits(now) && (want.sha256 == "" || known.SHA256 == want.sha256) {
		if known.Pinned || !now.Pinned {
			return known, nil
		}
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, &contextReader{ctx, file}); err != nil {
		return nil, fmt.Errorf("read %s: %w", d.Path(name), err)
	}
	got := hex.EncodeToString(hash.Sum(nil))
	if want.sha256 == "" && known != nil {
		now.SHA256, now.Pinned = known.SHA256, known.Pinned
	}
	if now.SHA256 == "" {
		now.SHA256, now.Pinned = got, isOfSet(d, name, got)
		if reason := unfinished(file, name); reason != "" && !now.Pinned {
			return nil, &CorruptError{Path: d.Path(name), Got: got, Reason: reason}
		}
	}
	if got != now.SHA256 {
		return nil, &CorruptError{Path: d.Path(name), Want: now.SHA256, Got: got}
	}
	return now, s.writeRecord(d, name, now)
}

// isOfSet reports whether a kernel that goes by its version is that of a set.
func isOfSet(d *datadir.Dir, name, digest string) bool {
	if first, _, _ := strings.Cut(name, "/"); first != kernelDir {
		return false
	}
	arch := path.Base(path.Dir(name))
	_, err := d.Stat(path.Join(kernelDir, digestPrefix+digest, arch, kernelFile))
	return err == nil
}

// writeRecord notes what a file is. Who cannot write reads the file again
// the next time.
func (s *Store) writeRecord(d *datadir.Dir, name string, r *record) error {
	data, err := marshal(r)
	if err != nil {
		return err
	}
	err = storage(d.WriteFile(recordPath(name), data, 0o644), 0)
	if _, full := errors.AsType[*StorageError](err); full || err == nil || isReadOnly(err) {
		return nil
	}
	return fmt.Errorf("write record of %s: %w", d.Path(name), err)
}

// contextReader ends when its context does.
type contextReader struct {
	ctx  context.Context
	from io.Reader
}

func (r *contextReader) Read(data []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.from.Read(data)
}

// quarantine moves a corrupt file out of the way, with a text that says why. The
// caller has the lock of the file.
func (s *Store) quarantine(d *datadir.Dir, name string, corrupt *CorruptError) error {
	folder := path.Join(quarantineDir, strings.ToLower(rand.Text()))
	reason := fmt.Sprintf("%s\n%s\n", s.options.now().UTC().Format(time.RFC3339), corrupt)
	to := path.Join(folder, path.Base(name))
	if err := d.WriteFile(path.Join(folder, "reason"), []byte(reason), 0o644); err != nil {
		return fmt.Errorf("quarantine %s: %w", d.Path(name), err)
	}
	if err := d.Move(name, to); err != nil {
		return fmt.Errorf("quarantine %s: %w", d.Path(name), err)
	}
	corrupt.Quarantine = d.Path(to)
	s.options.Logger.Warn("file is corrupt", "path", corrupt.Path, "want", corrupt.Want, "got", corrupt.Got, "quarantine", corrupt.Quarantine)
	return errors.Join(d.Remove(recordPath(name)), d.SyncDir(path.Dir(name)))
}

// use checks a file, and moves it out of the way if it is corrupt.
func (s *Store) use(ctx context.Context, d *datadir.Dir, name string, want wanted) (found *record, err error) {
	found, err = s.check(ctx, d, name, want)
	if _, ok := errors.AsType[*CorruptError](err); !ok {
		return found, err
	}
	lock, lockErr := d.Lock(ctx, lockName(name))
	if lockErr != nil {
		if isReadOnly(lockErr) {
			return nil, err
		}
		return nil, errors.Join(err, storage(lockErr, 0))
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	// Somebody may have mended it meanwhile.
	found, err = s.check(ctx, d, name, want)
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		if moveErr := s.quarantine(d, name, corrupt); moveErr != nil && !isReadOnly(moveErr) {
			err = errors.Join(err, storage(moveErr, 0))
		}
	}
	return found, err
}
