// Package headers gives the guest the headers of its kernel, for modules that
// are built in it (DKMS): a file system image of the initrd becomes
// /usr/src/linux-headers-RELEASE, and /lib/modules/RELEASE/build leads there.
//
// PID 1 calls Pending before the application starts, and Install and then
// RemoveOthers beside it, before it frees the initramfs: nothing waits for them
// but what reads the status file or the markers in the log. Each boot mounts
// again, which takes milliseconds; nothing is unpacked.
package headers

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/init/internal/fsmount"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

// StatusFile has one word and a newline: pending, running, ready or failed.
const StatusFile = "/run/hypeman/kernel-headers.status"

// Markers start the log messages; ` ts=` and an RFC 3339 time with nanoseconds
// follow, and behind a failure ` error=` and a quoted text.
const (
	StartMarker  = "HYPEMAN-HEADERS-START"
	ReadyMarker  = "HYPEMAN-HEADERS-READY"
	FailedMarker = "HYPEMAN-HEADERS-FAILED"
)

const (
	modulesDir   = "/lib/modules"
	sourceDir    = "/usr/src"
	sourcePrefix = "linux-headers-"
)

// Installer puts headers into the image at Root.
type Installer struct {
	Root    *inroot.Root
	Release string // of the running kernel (uname -r)
	Log     func(format string, args ...any)
	Now     func() time.Time

	mount func(image *os.File) (int, error) // mountImage but in tests
}

// Pending says in the status file that Install is to come.
func (i *Installer) Pending() error { return i.status("pending") }

// Install mounts the image, a squashfs, and sets the link to it. The file may be
// closed afterwards. The log and the status file have the result too.
func (i *Installer) Install(image *os.File) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("init panicked: %v", reason)
		}
		if err != nil {
			err = errors.Join(err, i.status("failed"))
			i.Log("%s ts=%s error=%q", FailedMarker, i.timestamp(), err.Error())
		}
	}()
	i.Log("%s ts=%s", StartMarker, i.timestamp())
	if err := i.status("running"); err != nil {
		return err
	}
	if err := i.place(image); err != nil {
		return err
	}
	if err := i.status("ready"); err != nil {
		return err
	}
	i.Log("%s ts=%s", ReadyMarker, i.timestamp())
	return nil
}

// RemoveOthers removes the modules and headers of other kernels from the image,
// for which DKMS would build too. It is for after an Install that has put its own
// in place. Only directories count, as with hypeman 0.0.7; a volume that is
// mounted there stays, and is an error. It takes time: on an overlay, to remove a
// file is to write.
func (i *Installer) RemoveOthers() error {
	var problems []error
	for _, place := range []struct{ dir, prefix string }{{modulesDir, ""}, {sourceDir, sourcePrefix}} {
		entries, err := i.Root.ReadDir(place.dir)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		for _, entry := range entries {
			if !entry.IsDir() || !strings.HasPrefix(entry.Name(), place.prefix) || entry.Name() == place.prefix+i.Release {
				continue
			}
			name := path.Join(place.dir, entry.Name())
			i.Log("removing %s: of another kernel than %s", name, i.Release)
			problems = append(problems, i.Root.RemoveAll(name))
		}
	}
	return errors.Join(problems...)
}

func (i *Installer) timestamp() string { return i.Now().UTC().Format(time.RFC3339Nano) }

func (i *Installer) status(word string) error {
	return i.Root.ReplaceFile(StatusFile, []byte(word+"\n"), 0o644)
}

// place puts the headers where they belong.
func (i *Installer) place(image *os.File) error {
	if i.Release == "" || i.Release != path.Base(i.Release) {
		return fmt.Errorf("kernel release %q is no file name", i.Release)
	}
	mountImage := mountImage
	if i.mount != nil {
		mountImage = i.mount
	}
	mount, err := mountImage(image)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	if err := i.check(mount); err != nil {
		return err
	}
	source := path.Join(sourceDir, sourcePrefix+i.Release)
	dir, err := i.Root.EnsureDirectory(source)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := fsmount.Attach(mount, dir); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	link := path.Join(modulesDir, i.Release, "build")
	if target, err := i.Root.ReadLink(link); err == nil && target == source {
		return nil // from an earlier boot
	}
	return i.Root.ReplaceLink(link, source)
}

// check finds headers of another kernel: what is built with them loads nowhere,
// or worse. Not all header trees tell. (Those that do tell more than one thing:
// include/config/kernel.release of Debian's is not what uname says.)
func (i *Installer) check(mount int) (err error) {
	const releaseFile, maxRelease = "/include/generated/utsrelease.h", 4 << 10
	tree, err := inroot.Open(fmt.Sprintf("/proc/self/fd/%d", mount))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	text, err := tree.ReadFile(releaseFile, maxRelease)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		release, ok := strings.CutPrefix(strings.TrimSpace(line), "#define UTS_RELEASE ")
		if got := strings.Trim(release, `"`); ok && got != i.Release {
			return fmt.Errorf("headers are of kernel %q, the running one is %q", got, i.Release)
		}
	}
	return nil
}
