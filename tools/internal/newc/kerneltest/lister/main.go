// Lister is an init that prints every file that the kernel has unpacked, as
// kerneltest.File, and powers the machine off. It mounts nothing and changes
// nothing before.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/tools/internal/newc/kerneltest"
)

func main() {
	if err := list(os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "list files: %v\n", err)
	}
	const drain = 1 // tcdrain(3) is TCSBRK with a non-zero argument
	if err := unix.IoctlSetInt(unix.Stdout, unix.TCSBRK, drain); err != nil {
		fmt.Fprintf(os.Stderr, "drain console: %v\n", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintf(os.Stderr, "power off: %v\n", err)
	}
}

func list(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintln(out, kerneltest.Begin)
	count := 0
	encoder := json.NewEncoder(out)
	// The kernel starts init in the root. From there the longest path has
	// PATH_MAX bytes; with a slash in front it would have one more.
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file, err := look(path, entry)
		if err != nil {
			return err
		}
		count++
		return encoder.Encode(file)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s%d\n", kerneltest.End, count)
	return out.Flush()
}

func look(path string, entry fs.DirEntry) (*kerneltest.File, error) {
	info, err := entry.Info()
	if err != nil {
		return nil, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	file := &kerneltest.File{Path: kerneltest.Bytes(path), Mode: stat.Mode, UID: stat.Uid, GID: stat.Gid,
		Nlink: uint64(stat.Nlink), Inode: stat.Ino, Size: stat.Size}
	switch {
	case info.Mode().IsRegular() && stat.Size > 0:
		file.SHA256, err = hash(path)
	case info.Mode()&fs.ModeSymlink != 0:
		var target string
		target, err = os.Readlink(path)
		file.Target = kerneltest.Bytes(target)
	}
	return file, err
}

func hash(path string) (sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}
