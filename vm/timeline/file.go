package timeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// formats are the forms of a timeline, by the suffix of the file's name.
var formats = map[string]func(*Timeline) ([]byte, error){
	".json": (*Timeline).Trace,
	".svg":  func(t *Timeline) ([]byte, error) { return t.SVG(), nil },
}

// CheckFile says whether a timeline can be written to a file of that name, as
// its suffix tells the form: .svg or .json.
func CheckFile(name string) error {
	if _, ok := formats[filepath.Ext(name)]; !ok {
		return fmt.Errorf("file is %q, want a name that ends in .svg or .json", name)
	}
	return nil
}

// WriteFile writes the timeline in the form that the file's suffix names. The
// file appears complete or not at all.
func (t *Timeline) WriteFile(name string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write timeline: %w", err)
		}
	}()
	if err := CheckFile(name); err != nil {
		return err
	}
	data, err := formats[filepath.Ext(name)](t)
	if err != nil {
		return err
	}
	dir := filepath.Dir(name)
	opts := []renameio.Option{renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o644)}
	if err := renameio.WriteFile(name, data, 0o644, opts...); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
