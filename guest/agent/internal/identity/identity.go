// Package identity gives the guest another machine ID (machine-id(5)), which a
// copy of a machine has in common with the machine.
//
// Programs that have read it before keep what they have read.
package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Derive is the machine ID of an instance: 32 hexadecimal digits, the same for
// the same instance ID and unlike that of any other.
//
// They are the first half of SHA-256 of "kindling machine-id", a byte 0 and the
// instance ID, with the bits that make it a UUID of version 4, as those that
// systemd makes are.
func Derive(instanceID string) string {
	sum := sha256.Sum256([]byte("kindling machine-id\x00" + instanceID))
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id)
}

// Files are where a machine's ID stands.
type Files struct {
	MachineID string // /etc/machine-id
	// Runtime is /run/machine-id, which systemd mounts over MachineID, read-only,
	// where that could not be written at boot.
	Runtime string
}

// System returns the machine's own.
func System() Files {
	return Files{MachineID: "/etc/machine-id", Runtime: "/run/machine-id"}
}

// Write makes id the content of the file, or of that to which a link in its
// place leads. A file that is mounted there is written in place; any other is
// replaced, complete or not at all.
func (f Files) Write(id string) error {
	content := []byte(id + "\n")
	name, err := resolve(f.MachineID)
	if err != nil {
		return fmt.Errorf("find machine ID's file: %w", err)
	}
	err = replace(name, content)
	if errors.Is(err, unix.EBUSY) { // a mount point cannot be renamed over
		err = f.writeMounted(name, content)
	}
	if err != nil {
		return fmt.Errorf("write machine ID: %w", err)
	}
	return nil
}

// resolve follows a link in the place of the file also if it leads to a file
// that is not there yet.
func resolve(name string) (string, error) {
	resolved, err := filepath.EvalSymlinks(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	target, err := os.Readlink(name)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
		return name, nil
	}
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(name), target)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(target))
	return filepath.Join(dir, filepath.Base(target)), err
}

// writeMounted writes a mounted file in place. Where it is mounted read-only, it
// is written where systemd has mounted it from.
func (f Files) writeMounted(name string, content []byte) error {
	err := overwrite(name, content)
	if !errors.Is(err, unix.EROFS) {
		return err
	}
	mounted, statErr := os.Stat(name)
	runtime, runtimeErr := os.Lstat(f.Runtime)
	if err := errors.Join(statErr, runtimeErr); err != nil || !os.SameFile(mounted, runtime) {
		return errors.Join(unix.EROFS, err)
	}
	return overwrite(f.Runtime, content)
}

// overwrite writes a file of about the same length in place, so that readers see
// the old ID, the new one or a mixture, but never less than one.
func overwrite(name string, content []byte) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	return errors.Join(file.Truncate(int64(len(content))), file.Sync())
}

// replace renames a new file, readable by all, over a name.
func replace(name string, content []byte) (err error) {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	file, err := os.CreateTemp(dir.Name(), ".machine-id-*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Chmod(0o444), file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), name); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return dir.Sync()
}
