package layout

import (
	"bufio"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// tempPattern names what is being installed. It lacks the prefix of kernels, so
// that no host takes it for one.
const tempPattern = ".install-*"

var releaseVersion = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$`)

// Install puts a kernel into the wrenn directory under its version, x.y.z without
// zeros in front, and gives its path. The file appears complete or not at all: it
// must be an uncompressed ELF program with the SHA-256, 64 lower-case
// hexadecimal digits, that the caller says. If it is there already, nothing is
// written; if other bytes are there, they stay and that is an error, since
// snapshots name a kernel by its version alone.
//
// Several processes may install at once. What one that was killed left behind,
// the next removes. The wrenn directory itself must exist.
func Install(ctx context.Context, wrennDir, version, digest string, content io.Reader) (path string, err error) {
	if !releaseVersion.MatchString(version) {
		return "", fmt.Errorf("install kernel: version %q, want x.y.z", version)
	}
	path = KernelPathVersioned(wrennDir, version)
	if err := install(ctx, path, digest, content); err != nil {
		return "", fmt.Errorf("install kernel %s: %w", version, err)
	}
	return path, nil
}

func install(ctx context.Context, path, want string, content io.Reader) (err error) {
	if sum, err := hex.DecodeString(want); err != nil || len(sum) != sha256.Size || strings.ToLower(want) != want {
		return fmt.Errorf("SHA-256 %q, want 64 lower-case hexadecimal digits", want)
	}
	dirPath := filepath.Dir(path)
	if err := os.Mkdir(dirPath, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(dirPath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if present, err := checkPresent(path, want); present || err != nil {
		return err
	}
	temp, err := createTemp(dir)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
		err = errors.Join(err, temp.Close())
	}()
	if err := fill(ctx, temp, want, content); err != nil {
		return err
	}
	return locked(dir, func() error {
		// Another process may have been faster.
		if present, err := checkPresent(path, want); present || err != nil {
			return err
		}
		if err := os.Rename(temp.Name(), path); err != nil {
			return err
		}
		renamed = true
		return dir.Sync()
	})
}

// checkPresent tells whether the kernel is there. Another one in its place is an
// error.
func checkPresent(path, want string) (present bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return false, err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return false, fmt.Errorf("%s is there with SHA-256 %s, want %s", path, got, want)
	}
	return true, nil
}

// createTemp makes a temporary file, whose lock says that its owner lives, and
// removes those whose owner does not.
func createTemp(dir *os.File) (temp *os.File, err error) {
	// Without the lock on the folder, another process could sweep between the
	// creation of the file and its lock.
	err = locked(dir, func() error {
		stale, err := filepath.Glob(filepath.Join(escapeGlob(dir.Name()), tempPattern))
		if err != nil {
			return err
		}
		for _, path := range stale {
			if err := removeStale(path); err != nil {
				return err
			}
		}
		if temp, err = os.CreateTemp(dir.Name(), tempPattern); err != nil {
			return err
		}
		if err := flock(temp, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return errors.Join(err, temp.Close(), os.Remove(temp.Name()))
		}
		return nil
	})
	return temp, err
}

// escapeGlob makes a pattern that matches the path alone.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func removeStale(path string) (err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	err = flock(file, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// locked runs what must not run twice at a time in the folder.
func locked(dir *os.File, do func() error) (err error) {
	if err := flock(dir, syscall.LOCK_EX); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flock(dir, syscall.LOCK_UN)) }()
	return do()
}

func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		return os.NewSyscallError("flock "+file.Name(), err)
	}
}

// fill writes the kernel, checks it and brings it to the disk.
func fill(ctx context.Context, temp *os.File, want string, content io.Reader) error {
	buffered := bufio.NewReader(content)
	// A web page is refused before all of it came.
	magic, err := buffered.Peek(len(elf.ELFMAG))
	if err != nil && err != io.EOF {
		return err
	}
	if string(magic) != elf.ELFMAG {
		return fmt.Errorf("file begins with %q, want an uncompressed ELF program", magic)
	}
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(temp, hash), contextReader{ctx, buffered})
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return fmt.Errorf("file has SHA-256 %s (%d bytes), want %s", got, size, want)
	}
	program, err := elf.NewFile(temp)
	if err != nil {
		return fmt.Errorf("read as ELF: %w", err)
	}
	if program.Type != elf.ET_EXEC && program.Type != elf.ET_DYN {
		return fmt.Errorf("ELF type is %v, want a program", program.Type)
	}
	if err := temp.Chmod(0o644); err != nil {
		return err
	}
	return temp.Sync()
}

// contextReader ends a copy with its context.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}
