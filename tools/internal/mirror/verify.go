package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Look looks whether all files are there with their sizes, which takes no time.
// Its error names the first that is not, with its digest, and counts the others.
func (m *Manifest) Look(dir string) error {
	var first error
	others := -1
	for _, file := range m.Files {
		if err := look(dir, file); err != nil {
			if first == nil {
				first = err
			}
			others++
		}
	}
	if others > 0 {
		return fmt.Errorf("%w; and %d more files", first, others)
	}
	return first
}

func look(dir string, file File) error {
	info, err := os.Stat(filepath.Join(dir, file.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("file %s is missing", file)
	case err != nil:
		return fmt.Errorf("look at file %s: %w", file, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("file %s is no plain file", file)
	case info.Size() != file.Size:
		return fmt.Errorf("file %s has %d bytes", file, info.Size())
	}
	return nil
}

// Verify reads the files below a folder, all for ".", and compares their
// digests. All that is wrong is in its error.
func (m *Manifest) Verify(dir, folder string) error {
	var problems []error
	for _, file := range m.Below(folder) {
		if err := VerifyFile(dir, file); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// VerifyFile reads one file and compares its digest.
func VerifyFile(dir string, file File) (err error) {
	if err := look(dir, file); err != nil {
		return err
	}
	content, err := os.Open(filepath.Join(dir, file.Path))
	if err != nil {
		return fmt.Errorf("open file %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return fmt.Errorf("read file %s: %w", file, err)
	}
	return Compare(file, sum.Sum(nil))
}

// Compare gives the error of a file whose bytes have another digest.
func Compare(file File, sum []byte) error {
	if got := hex.EncodeToString(sum); got != file.SHA256 {
		return fmt.Errorf("file %s has SHA-256 %s", file, got)
	}
	return nil
}
