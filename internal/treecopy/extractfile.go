package treecopy

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

func (x *Extractor) putFile(ctx context.Context, dir *os.File, base string, attributes *Attributes, content io.Reader) (err error) {
	if err := CheckReplaceable(dir, base); err != nil {
		return err
	}
	file, err := NewFile(dir)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := content.Read(x.buf)
		if err := x.count(n); err != nil {
			return err
		}
		if _, err := file.Write(x.buf[:n]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read content: %w", err)
		}
	}
	return file.Commit(base, attributes, false)
}

func (x *Extractor) count(n int) error {
	x.summary.Bytes += int64(n)
	if x.o.MaxBytes > 0 && x.summary.Bytes > x.o.MaxBytes {
		return fmt.Errorf("more than %d bytes", x.o.MaxBytes)
	}
	if x.o.Progress != nil && n > 0 {
		x.o.Progress(x.summary.Bytes)
	}
	return nil
}

func (x *Extractor) putSymlink(dir *os.File, name, target string, attributes *Attributes) error {
	if target == "" || len(target) > maxName {
		return fmt.Errorf("link target has %d bytes, want 1 to %d", len(target), maxName)
	}
	if x.o.Guarded && leadsOut(name, target) {
		return fmt.Errorf("link target %.300q is outside of the destination", target)
	}
	return place(dir, path.Base(name), func(temp string) error {
		if err := unix.Symlinkat(target, int(dir.Fd()), temp); err != nil {
			return fmt.Errorf("make symbolic link: %w", err)
		}
		return applyAt(dir, temp, attributes, true)
	})
}

// leadsOut tells whether a link could leave the directory that its name is
// below. No link is passed through on the way to a guarded one, so that its name
// tells how deep it is.
func leadsOut(name, target string) bool {
	if path.IsAbs(target) {
		return true
	}
	depth, down := strings.Count(name, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			// Behind a name, which may be a link, nobody knows where it leads.
			if depth--; down || depth < 0 {
				return true
			}
		default:
			down = true
		}
	}
	return false
}

func (x *Extractor) putLink(dir *os.File, base, linkname string) error {
	target, err := x.name(linkname)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	targetDir, err := x.directory(path.Dir(target), false)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	from := path.Base(target)
	err = place(dir, base, func(temp string) error {
		if err := unix.Linkat(int(targetDir.Fd()), from, int(dir.Fd()), temp, 0); err != nil {
			return fmt.Errorf("hard link to %.300q: %w", linkname, err)
		}
		var stat unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), temp, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		// A second name of a link would be at another depth.
		if x.o.Guarded && stat.Mode&unix.S_IFMT != unix.S_IFREG {
			return fmt.Errorf("hard link to %.300q: it is a %s", linkname, TypeName(stat.Mode))
		}
		return nil
	})
	return errors.Join(err, targetDir.Close())
}

func (x *Extractor) putNode(dir *os.File, base string, h *tar.Header, attributes *Attributes) error {
	mode := map[byte]uint32{tar.TypeFifo: unix.S_IFIFO, tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK}[h.Typeflag]
	if x.o.Guarded {
		return fmt.Errorf("it is a %s", TypeName(mode))
	}
	var device uint64
	if mode != unix.S_IFIFO {
		// 12 and 20 bits: new_encode_dev in the kernel's include/linux/kdev_t.h.
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return fmt.Errorf("device number is %d:%d", h.Devmajor, h.Devminor)
		}
		device = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	return place(dir, base, func(temp string) error {
		if err := mknodat(int(dir.Fd()), temp, mode|0o600, int(device)); err != nil {
			return fmt.Errorf("make %s: %w", TypeName(mode), err)
		}
		return applyAt(dir, temp, attributes, false)
	})
}

// mknodat is a variable so that tests need not be root.
var mknodat = unix.Mknodat

func applyAt(dir *os.File, name string, attributes *Attributes, isLink bool) error {
	file, err := openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(attributes.applyToPath(int(file.Fd()), isLink), file.Close())
}
