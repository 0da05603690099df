package system

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/internal/datadir"
)

var (
	// ErrUnsupportedVersion is in the chain of the error of a kernel version that
	// is malformed, or that is neither in the lock nor in the data directory.
	ErrUnsupportedVersion = errors.New("unsupported version")
	// ErrDownloadFailed is in the chain of every *SourceError.
	ErrDownloadFailed = errors.New("download failed")
	// ErrBuildFailed is in the chain of the error of EnsureSystemFiles when the
	// initrd could not be put in place for another reason than its source.
	ErrBuildFailed = errors.New("build failed")
	// ErrUnsafe is in the chain of the error of a data directory that others could
	// tamper with: everybody may write it, or a symbolic link stands in it.
	ErrUnsafe = datadir.ErrUnsafe
)

// SourceError tells of a source that did not give what it should have.
type SourceError struct {
	Source string // what the source calls itself
	File   string // manifest.json, or the name of a file of the set
	Err    error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("get %s from %s: %v", e.File, e.Source, e.Err)
}

func (e *SourceError) Unwrap() []error { return []error{ErrDownloadFailed, e.Err} }

// fileError says what file of a set an error is about.
type fileError struct {
	kind bundle.Kind
	arch string
	err  error
}

func (e *fileError) Error() string {
	return fmt.Sprintf("install %s for %s: %v", e.kind, e.arch, e.err)
}

func (e *fileError) Unwrap() error { return e.err }

// NotInstalledError names what is missing and how to get it. It is a
// fs.ErrNotExist.
type NotInstalledError struct {
	ID      string        // of the set, or
	Kernel  KernelVersion // what kernel
	Arch    string
	Missing []string // files of the set; all of it where empty
}

func (e *NotInstalledError) Error() string {
	switch {
	case e.Kernel != "":
		return fmt.Sprintf("kernel %s for %s is not installed: install a set that has it, with kindling install", e.Kernel, e.Arch)
	case e.ID == "":
		return "no artifact set is installed: install one with kindling install"
	case len(e.Missing) == 0:
		return fmt.Sprintf("artifact set %s is not installed: get it with kindling install %s", e.ID, e.ID)
	default:
		return fmt.Sprintf("artifact set %s is not complete for %s, it lacks %s: get them with kindling install %s",
			e.ID, e.Arch, strings.Join(e.Missing, ", "), e.ID)
	}
}

// Is makes the error a fs.ErrNotExist.
func (e *NotInstalledError) Is(target error) bool { return target == fs.ErrNotExist }

// CorruptError tells of a file that does not have the bytes it had or should
// have. It is not used, and is out of the way where Quarantine says.
type CorruptError struct {
	Path       string
	Want, Got  string // SHA-256 in hexadecimal digits; empty where Reason says it all
	Reason     string // where no digest is known: what is wrong with the file
	Quarantine string // path it was moved to; empty where that was not possible
}

func (e *CorruptError) Error() string {
	text := fmt.Sprintf("%s is corrupt: ", e.Path)
	if e.Reason != "" {
		text += e.Reason
	} else {
		text += fmt.Sprintf("it has SHA-256 %s, want %s", e.Got, e.Want)
	}
	if e.Quarantine != "" {
		text += "; it is now " + e.Quarantine
	}
	return text
}

// StorageError tells that the file system of the data directory could not take a
// file. In its chain is syscall.ENOSPC, EDQUOT, EROFS or EXDEV.
type StorageError struct {
	Path string
	Need int64 // bytes that the whole step needs; 0 where that says nothing
	Free int64 // bytes that there are; -1 where nobody asked
	Err  error
}

func (e *StorageError) Error() string {
	text := fmt.Sprintf("%s: %v", e.Path, e.Err)
	if e.Free >= 0 {
		return fmt.Sprintf("%s: %d bytes needed, %d free", text, e.Need, e.Free)
	}
	if errors.Is(e.Err, syscall.EXDEV) {
		text += ": all below the folder system must be one file system"
	}
	if e.Need > 0 {
		text += fmt.Sprintf(": %d bytes needed", e.Need)
	}
	return text
}

func (e *StorageError) Unwrap() error { return e.Err }

// storage names the path and the bytes of an error that a full or read-only disk
// is the cause of.
func storage(err error, need int64) error {
	if _, ok := errors.AsType[*StorageError](err); ok || err == nil {
		return err
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EXDEV} {
		if path, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, errno) {
			return &StorageError{Path: path.Path, Need: need, Free: -1, Err: errno}
		}
	}
	return err
}
