package deb

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxControl bounds a control file, in bytes.
const maxControl = 1 << 20

// Control is what a package says about itself.
type Control struct {
	Package, Version, Architecture string
}

// ReadControl reads a package's control file, and the rest of the package only
// to see that it ends where its headers say. Nothing is checked by a digest.
func ReadControl(r io.Reader) (Control, error) {
	control, err := readControl(bufio.NewReaderSize(r, 128<<10))
	if err != nil {
		return Control{}, fmt.Errorf("read package: %w", err)
	}
	return control, nil
}

func readControl(r io.Reader) (Control, error) {
	archive, err := newArReader(r)
	if err != nil {
		return Control{}, err
	}
	name, err := archive.next()
	if err != nil && err != io.EOF {
		return Control{}, err
	}
	if name != "debian-binary" {
		return Control{}, fmt.Errorf("first member is %q, not debian-binary", name)
	}
	var control *Control
	hasData := false
	for {
		name, err := archive.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Control{}, err
		}
		if compression, ok := strings.CutPrefix(name, "control.tar"); ok {
			if control != nil {
				return Control{}, errors.New("package has two of control.tar")
			}
			if control, err = readControlTar(archive, compression); err != nil {
				return Control{}, fmt.Errorf("read %s: %w", name, err)
			}
		}
		hasData = hasData || strings.HasPrefix(name, "data.tar")
	}
	switch {
	case control == nil:
		return Control{}, errors.New("package has no control.tar")
	case !hasData:
		return Control{}, errors.New("package has no data.tar")
	}
	return *control, nil
}

func readControlTar(r io.Reader, compression string) (*Control, error) {
	var control *Control
	err := readTar(r, compression, func(header *tar.Header, body io.Reader) error {
		if path.Clean(header.Name) != "control" || header.Typeflag != tar.TypeReg {
			return nil
		}
		if control != nil {
			return errors.New("file control stands twice")
		}
		if header.Size > maxControl {
			return fmt.Errorf("file control has %d bytes, want at most %d", header.Size, maxControl)
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		control, err = parseControl(string(data))
		return err
	})
	if err == nil && control == nil {
		err = errors.New("no file control")
	}
	return control, err
}

// parseControl reads fields as deb-control(5) has them.
func parseControl(text string) (*Control, error) {
	var control Control
	fields := map[string]*string{
		"package": &control.Package, "version": &control.Version, "architecture": &control.Architecture,
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		field := fields[strings.ToLower(name)]
		if field == nil {
			continue // what is of no interest, or goes on from the line before
		}
		if *field != "" {
			return nil, fmt.Errorf("control has two fields %s", name)
		}
		if *field = strings.TrimSpace(value); *field == "" {
			return nil, fmt.Errorf("control has an empty field %s", name)
		}
	}
	if control.Package == "" || control.Version == "" || control.Architecture == "" {
		return nil, errors.New("control lacks one of Package, Version and Architecture")
	}
	return &control, nil
}
