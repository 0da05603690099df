package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bazelbuild/rules_go/go/runfiles"

	"github.com/kindling-vm/kindling/system/lock"
	"github.com/kindling-vm/kindling/tools/internal/mirror"
)

// The linker sets these to paths among the runfiles.
var (
	artifactFiles string // with spaces between them
	goProxyMarker string // a file in the folder of Go modules
)

// inputs are where a mirror's files come from.
type inputs struct {
	lock      string   // file
	artifacts []string // files, in no order
	modules   string   // folder of Go modules as a proxy has them
	root      string   // folder of the Debian root
}

// findInputs finds what Bazel and tools/launcher have prepared.
func findInputs(getenv func(string) string) (*inputs, error) {
	workspace := getenv("BUILD_WORKSPACE_DIRECTORY")
	if workspace == "" {
		return nil, errors.New("there is no workspace: want to be run by tools/bazel run")
	}
	in := &inputs{
		lock: filepath.Join(workspace, "system", "artifacts.lock.json"),
		root: getenv("KINDLING_ROOT"),
	}
	if in.root == "" {
		return nil, errors.New("this Bazel does not run in a Debian root: " +
			"want KINDLING_BAZEL=closed, which has tools/bazel make one")
	}
	for _, name := range strings.Fields(artifactFiles) {
		file, err := runfiles.Rlocation(name)
		if err != nil {
			return nil, fmt.Errorf("find artifact: %w", err)
		}
		in.artifacts = append(in.artifacts, file)
	}
	marker, err := runfiles.Rlocation(goProxyMarker)
	if err != nil {
		return nil, fmt.Errorf("find Go modules: %w", err)
	}
	in.modules = filepath.Dir(marker)
	return in, nil
}

// source is a file of a mirror before it is one.
type source struct {
	path string // below the mirror
	// write writes its content.
	write func(io.Writer) error
	// stillIs reports whether it still is the file that the mirror has.
	stillIs func(mirror.File) (bool, error)
}

// sources are all files that a mirror is to have, in order of their paths. What
// it cannot have is said on stderr.
func (in *inputs) sources(stderr io.Writer) ([]source, error) {
	sources, err := in.artifactSources(stderr)
	if err != nil {
		return nil, err
	}
	modules, err := in.moduleSources()
	if err != nil {
		return nil, err
	}
	root, err := in.rootSource(stderr)
	if err != nil {
		return nil, err
	}
	sources = append(append(sources, modules...), root)
	slices.SortFunc(sources, func(a, b source) int { return strings.Compare(a.path, b.path) })
	return sources, nil
}

// artifactSources tells files by their digests, since names of files say little.
func (in *inputs) artifactSources(stderr io.Writer) ([]source, error) {
	data, err := os.ReadFile(in.lock)
	if err != nil {
		return nil, fmt.Errorf("read lock: %w", err)
	}
	known, err := lock.Parse(data)
	if err != nil {
		return nil, err
	}
	files := map[string]string{} // by digest
	for _, file := range in.artifacts {
		sum, err := digest(file)
		if err != nil {
			return nil, fmt.Errorf("read artifact: %w", err)
		}
		files[sum] = file
	}
	var sources []source
	used := map[string]bool{}
	for _, artifact := range known.Artifacts {
		file, found := files[artifact.SHA256]
		leaveOut := func(reason string) {
			fmt.Fprintf(stderr, "mirror: left out %s (%s): %s\n", artifact.Name, artifact.Arch, reason)
		}
		switch {
		case found:
			used[artifact.SHA256] = true
			to := path.Join(mirror.Distdir, artifact.Name+"_"+artifact.Arch, artifact.FileName())
			sources = append(sources, fileSource(to, file, artifact.SHA256))
		case !artifact.Pinned():
			leaveOut("the lock has no digest of it")
		case len(artifact.URLs) > 0:
			leaveOut("it has a URL; --//tools/mirror:urls has Bazel fetch those")
		default:
			return nil, fmt.Errorf("no file is artifact %s (%s), SHA-256 %s", artifact.Name, artifact.Arch, artifact.SHA256)
		}
	}
	for sum, file := range files {
		if !used[sum] {
			return nil, fmt.Errorf("file %s, SHA-256 %s, is not in the lock", file, sum)
		}
	}
	return sources, nil
}

// proxyFiles are what a Go module proxy must have of a version of a module.
var proxyFiles = []string{".info", ".mod", ".zip"}

func (in *inputs) moduleSources() ([]source, error) {
	var sources []source
	err := filepath.WalkDir(in.modules, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains(proxyFiles, filepath.Ext(file)) {
			return err
		}
		name, err := filepath.Rel(in.modules, file)
		if err != nil {
			return err
		}
		sources = append(sources, fileSource(path.Join(mirror.GoProxy, filepath.ToSlash(name)), file, ""))
		return nil
	})
	if err == nil && len(sources) == 0 {
		err = errors.New("there are none; tools/bazel fetches them in a closed network's world only")
	}
	if err != nil {
		return nil, fmt.Errorf("list Go modules: %w", err)
	}
	return sources, nil
}

// fileSource is a file that is copied. The digest may be "" for one that nobody
// has said.
func fileSource(to, from, want string) source {
	return source{
		path: to,
		write: func(w io.Writer) (err error) {
			file, err := os.Open(from)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			sum := sha256.New()
			if _, err := io.Copy(io.MultiWriter(w, sum), file); err != nil {
				return err
			}
			if got := hex.EncodeToString(sum.Sum(nil)); want != "" && got != want {
				return fmt.Errorf("file %s has SHA-256 %s, want %s", from, got, want)
			}
			return nil
		},
		stillIs: func(known mirror.File) (bool, error) {
			if want != "" {
				return known.SHA256 == want, nil
			}
			sum, err := digest(from)
			return known.SHA256 == sum, err
		},
	}
}

func digest(name string) (_ string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// rootName is what tools/launcher calls a root: by the packages in it, and by the
// archive where it comes from a mirror.
var rootName = regexp.MustCompile(`^(root-[0-9a-f]{12})(-[0-9a-f]{12})?$`)

func (in *inputs) rootSource(stderr io.Writer) (source, error) {
	match := rootName.FindStringSubmatch(filepath.Base(in.root))
	if match == nil {
		return source{}, fmt.Errorf("folder %s is not named as a root is", in.root)
	}
	return source{
		path: mirror.RootArchive(match[1]),
		write: func(w io.Writer) error {
			fmt.Fprintf(stderr, "mirror: packing %s (less than a minute)\n", in.root)
			return pack(w, in.root)
		},
		// The name says which packages are in it; their files only differ in times.
		stillIs: func(mirror.File) (bool, error) { return true, nil },
	}, nil
}
