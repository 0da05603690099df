package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/kindling-vm/kindling/internal/initramfs"
)

// unpackCopies writes the content of an initrd into numbered folders below dir,
// again and again, until there are about so many bytes. A symbolic link becomes
// a small file, since not all contenders take links of a folder: the number of
// entries stays.
func unpackCopies(initrd, dir string, size int64) error {
	for number := 0; size > 0; number++ {
		written, err := unpack(initrd, filepath.Join(dir, fmt.Sprintf("d%03d", number)), size)
		if err != nil {
			return err
		}
		if written == 0 {
			return fmt.Errorf("unpack %s: it has no file that fits", initrd)
		}
		size -= written
	}
	return nil
}

// unpack writes what of an initrd fits into so many bytes, and one file more.
func unpack(initrd, dir string, limit int64) (written int64, err error) {
	file, err := os.Open(initrd)
	if err != nil {
		return 0, fmt.Errorf("open initrd: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("open initrd: %w", err)
	}
	_, err = initramfs.Walk(file, info.Size(), func(entry *initramfs.Entry, body io.Reader) error {
		name, err := filepath.Localize(entry.Name)
		if err != nil {
			return fmt.Errorf("unpack %s: %w", entry.Name, err)
		}
		name = filepath.Join(dir, name)
		switch entry.Mode & initramfs.TypeMask {
		case initramfs.TypeDir:
			return os.MkdirAll(name, 0o755)
		case initramfs.TypeSymlink:
			body = strings.NewReader(entry.Target)
		case initramfs.TypeRegular:
		default:
			return fmt.Errorf("unpack %s: it is neither a folder nor a link nor a file", entry.Name)
		}
		if written >= limit {
			return nil
		}
		written += entry.Size
		return writeBody(name, body)
	})
	if err != nil {
		return 0, fmt.Errorf("unpack %s: %w", initrd, err)
	}
	return written, nil
}

func writeBody(name string, body io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = io.Copy(file, body)
	return err
}

// files are the paths of the regular files below a folder, from it, in order.
func files(dir string) (names []string, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list folder: %w", err)
	}
	return names, nil
}

// writeParams writes a file of flags that place files of a folder, and others
// before them.
func writeParams(name, dir string, names []string, others ...string) error {
	var out strings.Builder
	for _, other := range others {
		out.WriteString(other + "\n")
	}
	for _, file := range names {
		fmt.Fprintf(&out, "--file=/%s=%s\n", file, filepath.Join(dir, file))
	}
	if err := os.WriteFile(name, []byte(out.String()), 0o600); err != nil {
		return fmt.Errorf("write flags: %w", err)
	}
	return nil
}

// writeLayer writes a layer, compressed where its name ends with gz.
func writeLayer(name string, fill func(*tar.Writer) error) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := io.WriteCloser(nopCloser{file})
	if strings.HasSuffix(name, "gz") {
		out = gzip.NewWriter(file)
	}
	archive := tar.NewWriter(out)
	if err := errors.Join(fill(archive), archive.Close(), out.Close()); err != nil {
		return fmt.Errorf("write layer %s: %w", name, err)
	}
	return nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
