package diskcache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// record is what is known of a complete disk.
type record struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // of all bytes, hexadecimal
	// Of the file as it was. The change time is what nobody can set back.
	Inode    uint64 `json:"inode"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
	Changed  int64  `json:"changed"`
}

// check tells whether a folder has its disk, complete and as it was made.
func check(ctx context.Context, dir string) (_ bool, err error) {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var known record
	if json.Unmarshal(data, &known) != nil {
		return false, nil
	}
	disk, err := os.Open(filepath.Join(dir, diskFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	now, err := describe(disk)
	if err != nil {
		return false, err
	}
	now.SHA256 = known.SHA256
	if *now == known {
		return true, nil
	}
	if now.Size != known.Size {
		return false, nil
	}
	// A folder that was copied has other inodes and times.
	if now.SHA256, err = digest(ctx, disk); err != nil || now.SHA256 != known.SHA256 {
		return false, err
	}
	return true, now.write(dir)
}

// writeRecord reads a new disk and makes it a complete one.
func writeRecord(ctx context.Context, dir string) (err error) {
	disk, err := os.Open(filepath.Join(dir, diskFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	r, err := describe(disk)
	if err != nil {
		return err
	}
	if r.SHA256, err = digest(ctx, disk); err != nil {
		return err
	}
	return r.write(dir)
}

func (r *record) write(dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write record of disk: %w", err)
	}
	return renameio.WriteFile(filepath.Join(dir, recordFile), data, 0o600, renameio.WithTempDir(dir))
}

// describe fills in all but the digest.
func describe(disk *os.File) (*record, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(disk.Fd()), &stat); err != nil {
		return nil, fmt.Errorf("stat %s: %w", disk.Name(), err)
	}
	return &record{Size: stat.Size, Inode: stat.Ino, Modified: stat.Mtim.Nano(), Changed: stat.Ctim.Nano()}, nil
}

func digest(ctx context.Context, disk *os.File) (string, error) {
	hash := sha256.New()
	buffer := make([]byte, 1<<20)
	for {
		if err := context.Cause(ctx); err != nil {
			return "", err
		}
		n, err := disk.Read(buffer)
		hash.Write(buffer[:n]) // never returns an error
		if err == io.EOF {
			return hex.EncodeToString(hash.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
