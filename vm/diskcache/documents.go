package diskcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/renameio/v2"
)

// maxDocuments bounds the documents that are kept: an image has two or three, of
// a few kilobytes each and 4 MiB at most.
const maxDocuments = 1000

// Get gives a document, or fs.ErrNotExist. What comes out need not be true: who
// reads it checks its digest.
func (c *Cache) Get(digest v1.Hash) ([]byte, error) {
	return os.ReadFile(c.document(digest))
}

// Put keeps a document, in place of the oldest one where there are many.
func (c *Cache) Put(digest v1.Hash, data []byte) error {
	path := c.document(digest)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep document: %w", err)
	}
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("keep document: %w", err)
	}
	return trimDocuments(dir)
}

func (c *Cache) document(digest v1.Hash) string {
	return filepath.Join(c.Dir, documentsFolder, digest.Algorithm+"-"+digest.Hex)
}

func trimDocuments(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= maxDocuments {
		return err
	}
	var infos []fs.FileInfo
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process removed it
		}
		if err != nil {
			return err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range infos[:max(0, len(infos)-maxDocuments)] {
		if err := os.Remove(filepath.Join(dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove old document: %w", err)
		}
	}
	return nil
}
