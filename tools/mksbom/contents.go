package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/internal/mtree"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/lock"
)

// sources says what the set's files of a kind are made from. The initrd is made
// from everything that is in it.
var sources = map[bundle.Kind]lock.Kind{
	bundle.Base: lock.Base, bundle.Headers: lock.Headers, bundle.Kernel: lock.Kernel, bundle.KernelInfo: lock.Kernel,
}

// contents is what an artifact set is made of. Its lists have one order, that of
// the references.
type contents struct {
	name, version, arch, profile string

	files     []setFile
	artifacts []*lock.Artifact
	image     *image // nil without one
	programs  []*program
	modules   []module                 // of all programs
	owned     map[string][]mtree.Entry // files and links of the initrd by the reference of their component
}

// setFile is a file of the set.
type setFile struct {
	kind         bundle.Kind
	name, sha256 string
}

func (f *setFile) ref() string { return "file:" + f.name }

// image is an OCI image that is the base.
type image struct {
	repository string
	digest     string   // SHA-256 of the manifest, in hexadecimal digits
	layers     []string // the same of the layers
}

// References of components that are no artifacts, and their names for --owner.
const (
	imageRef  = "image"
	sourceRef = "source" // this repository
)

func artifactRef(name string) string { return "artifact:" + name }

// gather reads the inputs and checks that they fit together.
func gather(o *options) (*contents, error) {
	if o.arch != "x86_64" && o.arch != "aarch64" {
		return nil, fmt.Errorf("arch is %q, want x86_64 or aarch64", o.arch)
	}
	c := &contents{name: o.name, version: o.version, arch: o.arch, profile: o.profile}
	for _, step := range []func(*options) error{
		c.readImage, c.readArtifacts, c.readFiles, c.readPrograms, c.readSegments,
	} {
		if err := step(o); err != nil {
			return nil, err
		}
	}
	return c, c.checkUse()
}

func (c *contents) readImage(o *options) error {
	if o.image == "" {
		return nil
	}
	repository, manifest, _ := strings.Cut(o.image, "@")
	if repository == "" {
		return fmt.Errorf("image %q has no repository", o.image)
	}
	digest, err := cutDigest(manifest)
	if err != nil {
		return fmt.Errorf("read image %q: %w", o.image, err)
	}
	c.image = &image{repository: repository, digest: digest}
	for _, layer := range o.layers {
		digest, err := cutDigest(layer)
		if err != nil {
			return fmt.Errorf("read layers of image %s: %w", repository, err)
		}
		c.image.layers = append(c.image.layers, digest)
	}
	if len(o.layers) == 0 {
		return fmt.Errorf("image %s has no layer", repository)
	}
	return nil
}

func cutDigest(s string) (string, error) {
	digest, ok := strings.CutPrefix(s, "sha256:")
	if !ok || !isSHA256(digest) {
		return "", fmt.Errorf("digest %q is not sha256: and 64 lower-case hexadecimal digits", s)
	}
	return digest, nil
}

func (c *contents) readArtifacts(o *options) error {
	data, err := os.ReadFile(o.lock)
	if err != nil {
		return fmt.Errorf("read lock: %w", err)
	}
	all, err := lock.Parse(data)
	if err != nil {
		return fmt.Errorf("read %s: %w", o.lock, err)
	}
	for _, given := range o.artifacts {
		a := all.Lookup(given.value, o.arch)
		if a == nil {
			a = all.Lookup(given.value, lock.All)
		}
		switch {
		case a == nil:
			return fmt.Errorf("lock has no artifact %s for %s", given.value, o.arch)
		case string(a.Kind) != given.key:
			return fmt.Errorf("artifact %s is of kind %s, not %s", a.Name, a.Kind, given.key)
		case !a.Pinned():
			return fmt.Errorf("artifact %s for %s has no digest in the lock", a.Name, a.Arch)
		case slices.Contains(c.artifacts, a):
			return fmt.Errorf("artifact %s is given twice", a.Name)
		case a.Name == imageRef || a.Name == sourceRef:
			return fmt.Errorf("artifact %s has a name that means something else to --owner", a.Name)
		}
		c.artifacts = append(c.artifacts, a)
	}
	slices.SortFunc(c.artifacts, func(a, b *lock.Artifact) int { return strings.Compare(a.Name, b.Name) })
	return c.checkProfile(all)
}

// checkProfile checks that there is one kernel and no more than one base, and that
// they are those of the profile, if there is one. An image stands for its base.
func (c *contents) checkProfile(all *lock.Lock) error {
	kernels, bases := c.refs(lock.Kernel), c.refs(lock.Base)
	if len(kernels) != 1 {
		return fmt.Errorf("set has kernels %v, want 1", kernels)
	}
	if len(bases) > 1 {
		return fmt.Errorf("set has bases %v, want no more than 1", bases)
	}
	if c.profile == "" {
		return nil
	}
	profile, ok := all.Profiles[c.profile]
	if !ok {
		return fmt.Errorf("lock has no profile %s", c.profile)
	}
	want := []string{artifactRef(profile.Base)}
	if c.image != nil {
		want = []string{imageRef}
	}
	if kernels[0] != artifactRef(profile.Kernel) || !slices.Equal(bases, want) {
		return fmt.Errorf("set has kernel %s and base %v, but profile %s is of %s and %s",
			kernels[0], bases, c.profile, profile.Kernel, profile.Base)
	}
	return nil
}

// refs gives references of what went in of a kind.
func (c *contents) refs(kind lock.Kind) []string {
	var refs []string
	for _, a := range c.artifacts {
		if a.Kind == kind {
			refs = append(refs, artifactRef(a.Name))
		}
	}
	if c.image != nil && kind == lock.Base {
		refs = append(refs, imageRef)
	}
	return refs
}

func (c *contents) readFiles(o *options) error {
	kinds := map[bundle.Kind]string{}
	names := map[string]bool{}
	for _, given := range o.files {
		f := setFile{kind: bundle.Kind(given.key), name: filepath.Base(given.value)}
		source, known := sources[f.kind]
		switch {
		case !known && f.kind != bundle.Initrd:
			return fmt.Errorf("file %s is of kind %s, which a set is not made of", f.name, f.kind)
		case known && len(c.refs(source)) == 0:
			return fmt.Errorf("file %s is of kind %s, and there is no artifact of kind %s", f.name, f.kind, source)
		case kinds[f.kind] != "":
			return fmt.Errorf("files %s and %s are both of kind %s", kinds[f.kind], f.name, f.kind)
		case names[f.name]:
			return fmt.Errorf("two files have the name %s", f.name)
		}
		kinds[f.kind], names[f.name] = f.name, true
		var err error
		if f.sha256, err = hashFile(given.value); err != nil {
			return fmt.Errorf("read %s: %w", f.kind, err)
		}
		c.files = append(c.files, f)
	}
	for _, kind := range []bundle.Kind{bundle.Initrd, bundle.Kernel} {
		if kinds[kind] == "" {
			return fmt.Errorf("no file is of kind %s", kind)
		}
	}
	slices.SortFunc(c.files, func(a, b setFile) int { return strings.Compare(a.name, b.name) })
	return nil
}

// sources gives references of the components that a file of the set is made
// from.
func (c *contents) sources(f *setFile) []string {
	if f.kind == bundle.Initrd {
		return slices.Sorted(maps.Keys(c.owned))
	}
	return c.refs(sources[f.kind])
}

func (c *contents) readPrograms(o *options) error {
	sums, err := readSums(o.goSum)
	if err != nil {
		return err
	}
	infos := map[string]string{}
	for _, info := range o.infos {
		dest := strings.TrimPrefix(info.key, "/")
		if infos[dest] != "" {
			return fmt.Errorf("build information of /%s is given twice", dest)
		}
		infos[dest] = info.value
	}
	for _, binary := range o.binaries {
		dest := strings.TrimPrefix(binary.key, "/")
		p, err := readProgram(dest, binary.value, infos[dest], sums)
		if err != nil {
			return fmt.Errorf("read program %s for /%s: %w", binary.value, dest, err)
		}
		delete(infos, dest)
		c.programs = append(c.programs, p)
	}
	if left := slices.Sorted(maps.Keys(infos)); len(left) > 0 {
		return fmt.Errorf("there is build information but no program for /%s", left[0])
	}
	slices.SortFunc(c.programs, func(a, b *program) int { return strings.Compare(a.dest, b.dest) })
	for i := 1; i < len(c.programs); i++ {
		if c.programs[i].dest == c.programs[i-1].dest {
			return fmt.Errorf("program /%s is given twice", c.programs[i].dest)
		}
	}
	return c.mergeModules()
}

func (c *contents) mergeModules() error {
	for _, p := range c.programs {
		c.modules = append(c.modules, p.modules...)
	}
	slices.SortFunc(c.modules, compareModules)
	c.modules = slices.Compact(c.modules)
	for i := 1; i < len(c.modules); i++ {
		if a, b := c.modules[i-1], c.modules[i]; a.ref() == b.ref() {
			return fmt.Errorf("module %s@%s has sums %s and %s", a.path, a.version, a.sum, b.sum)
		}
	}
	return nil
}

// checkUse checks that everything that went in shows in what came out.
func (c *contents) checkUse() error {
	used := map[string]bool{}
	for i := range c.files {
		for _, ref := range c.sources(&c.files[i]) {
			used[ref] = true
		}
	}
	for _, a := range c.artifacts {
		if !used[artifactRef(a.Name)] {
			return fmt.Errorf("artifact %s is in no file of the set", a.Name)
		}
	}
	if c.image != nil && !used[imageRef] {
		return fmt.Errorf("image %s is in no file of the set", c.image.repository)
	}
	return nil
}

func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func hashFile(name string) (digest string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
