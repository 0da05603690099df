// Package mirror reads and writes the manifest of a folder that holds all that a
// build in a network without any registry needs: tools/mirror makes such a
// folder, tools/launcher builds from it. It uses the standard library only, as
// the launcher must.
package mirror

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What is in the folder.
const (
	// ManifestName is the manifest. It is written last.
	ManifestName = "manifest.json"
	// Distdir has a folder for each pinned artifact, NAME_ARCH, since artifacts
	// of different bytes can have one file name. Bazel's --distdir takes each.
	Distdir = "distdir"
	// GoProxy is a Go module proxy as go.dev/ref/mod#goproxy-protocol describes.
	GoProxy = "goproxy"
)

// RootArchive is the archive of the Debian root that tools/launcher calls by that
// name: a tar file, compressed by gzip.
func RootArchive(root string) string { return root + ".tar.gz" }

const version = 1

// Manifest lists every file of the folder but itself.
type Manifest struct {
	Files []File // sorted by path
}

// File is one file of the folder.
type File struct {
	Path   string `json:"path"`   // below the folder, with slashes
	SHA256 string `json:"sha256"` // 64 lower-case hexadecimal digits
	Size   int64  `json:"size"`   // in bytes
}

func (f File) String() string {
	return fmt.Sprintf("%s (SHA-256 %s, %d bytes)", f.Path, f.SHA256, f.Size)
}

// Lookup finds the file of that path.
func (m *Manifest) Lookup(path string) (File, bool) {
	index, found := slices.BinarySearchFunc(m.Files, path, func(f File, path string) int { return cmp.Compare(f.Path, path) })
	if !found {
		return File{}, false
	}
	return m.Files[index], true
}

// Below gives the files below a folder, or all for ".".
func (m *Manifest) Below(folder string) []File {
	var files []File
	for _, file := range m.Files {
		if folder == "." || strings.HasPrefix(file.Path, folder+"/") {
			files = append(files, file)
		}
	}
	return files
}

// document is the manifest as JSON.
type document struct {
	Version int    `json:"version"`
	Files   []File `json:"files"`
}

// MarshalCanonical gives the manifest its one form as bytes: files in order of
// their paths, indented by two spaces, a newline at the end. A path that leaves
// the folder or stands twice, and a malformed digest or size are errors.
func (m *Manifest) MarshalCanonical() ([]byte, error) {
	files := append([]File{}, m.Files...)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for i, file := range files {
		if err := check(file); err != nil {
			return nil, err
		}
		if i > 0 && files[i-1].Path == file.Path {
			return nil, fmt.Errorf("file %q stands twice", file.Path)
		}
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document{version, files}); err != nil {
		return nil, err
	}
	return data.Bytes(), nil
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func check(file File) error {
	switch {
	case !fs.ValidPath(file.Path) || file.Path == "." || path.Base(file.Path) == ManifestName:
		return fmt.Errorf("file %q is not one of a mirror", file.Path)
	case !hexDigest.MatchString(file.SHA256):
		return fmt.Errorf("file %q: SHA-256 is %q, want 64 hexadecimal digits", file.Path, file.SHA256)
	case file.Size < 0:
		return fmt.Errorf("file %q: size is %d", file.Path, file.Size)
	}
	return nil
}

// Parse reads a manifest, which must be in the form of MarshalCanonical: what
// deviates was cut short or edited.
func Parse(data []byte) (*Manifest, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if d.Version != version {
		return nil, fmt.Errorf("parse manifest: version is %d, want %d", d.Version, version)
	}
	m := &Manifest{d.Files}
	canonical, err := m.MarshalCanonical()
	if err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if !bytes.Equal(canonical, data) {
		return nil, errors.New("parse manifest: it is not as tools/mirror writes it")
	}
	return m, nil
}

// Read reads the manifest of a mirror and gives its digest, too.
func Read(dir string) (m *Manifest, digest string, err error) {
	data, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, "", fmt.Errorf("read manifest: %w", err)
	}
	m, err = Parse(data)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", filepath.Join(dir, ManifestName), err)
	}
	sum := sha256.Sum256(data)
	return m, hex.EncodeToString(sum[:]), nil
}
