package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// outputBuffer is in bytes. It gathers the lines of a listing; larger writes pass
// it by.
const outputBuffer = 32 << 10

// writeOutputs makes an archive and its listing. Each appears complete or not at
// all.
func writeOutputs(archiveName, listingName string, write func(archive *output, listing io.Writer) error) (err error) {
	archive, err := newOutput(archiveName)
	if err != nil {
		return fmt.Errorf("create archive: %w", err)
	}
	defer func() { err = errors.Join(err, archive.discard()) }()
	listing, err := newOutput(listingName)
	if err != nil {
		return fmt.Errorf("create listing: %w", err)
	}
	defer func() { err = errors.Join(err, listing.discard()) }()
	if err := write(archive, listing); err != nil {
		return err
	}
	// A full disk shows before the first of the two appears.
	if err := listing.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", listingName, err)
	}
	if err := archive.publish(); err != nil {
		return err
	}
	return listing.publish()
}

// output is a file that has another name until it is complete.
//
// It is not synced: what a build makes it can make again, and a build system
// does not look for it behind a crash. Syncing 40 MB takes longer than all else
// that is done for them.
type output struct {
	*bufio.Writer
	name string
	file *os.File // nil when it is published
}

func newOutput(name string) (*output, error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return nil, err
	}
	// Whatever the umask is.
	if err := file.Chmod(0o644); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	return &output{bufio.NewWriterSize(file, outputBuffer), name, file}, nil
}

// WriteAt is for who writes in another order than that of the bytes.
func (o *output) WriteAt(p []byte, offset int64) (int, error) { return o.file.WriteAt(p, offset) }

func (o *output) publish() error {
	if err := o.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	if err := o.file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", o.name, err)
	}
	if err := os.Rename(o.file.Name(), o.name); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	o.file = nil
	return nil
}

// discard removes what was not published. Publishing may have closed it.
func (o *output) discard() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if err = errors.Join(err, os.Remove(o.file.Name())); err != nil {
		return fmt.Errorf("remove temporary file: %w", err)
	}
	return nil
}
