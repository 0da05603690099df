package main

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/kindling-vm/kindling/internal/initramfs"
)

// diffInitrds compares what the kernel makes of two initrds.
func (r *diffReport) diffInitrds(a, b *artifact) error {
	before, err := readTree(a)
	if err != nil {
		return err
	}
	after, err := readTree(b)
	if err != nil {
		return err
	}
	r.Properties = append(r.Properties, mapDeltas(describeSegments(before), describeSegments(after))...)
	old, now := filesByPath(before), filesByPath(after)
	var programs [2]map[int]string // numbers of entries that may be programs -> path
	programs[0], programs[1] = map[int]string{}, map[int]string{}
	for _, path := range sortedKeys(old, now) {
		x, isOld := old[path]
		y, isNew := now[path]
		properties := mapDeltas(describeFile(x, isOld), describeFile(y, isNew))
		switch {
		case !isOld:
			r.Entries = append(r.Entries, entryDiff{Name: path, Change: changeAdded, Properties: properties})
		case !isNew:
			r.Entries = append(r.Entries, entryDiff{Name: path, Change: changeRemoved, Properties: properties})
		case len(properties) > 0:
			r.Entries = append(r.Entries, entryDiff{Name: path, Change: changeModified, Properties: properties})
			if x.SHA256 != "" && y.SHA256 != "" && x.SHA256 != y.SHA256 {
				programs[0][x.Number], programs[1][y.Number] = path, path
			}
		}
	}
	return r.addModules(a, b, programs)
}

func readTree(a *artifact) (*initramfs.Tree, error) {
	tree, err := initramfs.Merge(a.file, a.size)
	return tree, a.fail(err)
}

func filesByPath(tree *initramfs.Tree) map[string]initramfs.File {
	files := map[string]initramfs.File{}
	for _, file := range tree.Files {
		files[file.Path] = file
	}
	return files
}

// describeSegments tells how an initrd is put together.
func describeSegments(tree *initramfs.Tree) map[string]string {
	properties := map[string]string{}
	for _, s := range tree.Segments {
		properties[fmt.Sprintf("segment %d", s.Index)] = fmt.Sprintf("%s, %d bytes, %d unpacked, %d entries",
			cmp.Or(s.Compression, "not compressed"), s.StoredSize, s.Size, s.Entries)
	}
	return properties
}

// describeFile gives what counts of a file. Times and the numbers of inodes do
// not.
func describeFile(file initramfs.File, exists bool) map[string]string {
	if !exists {
		return nil
	}
	properties := map[string]string{
		"mode":  octal(file.Mode),
		"owner": fmt.Sprintf("%d:%d", file.UID, file.GID),
	}
	switch kind := file.Mode & initramfs.TypeMask; {
	case kind == initramfs.TypeRegular:
		properties["size"], properties["sha256"] = fmt.Sprint(file.Size), file.SHA256
	case kind == initramfs.TypeSymlink:
		properties["target"] = file.Target
	case device(&file.Entry) != "":
		properties["device"] = device(&file.Entry)
	}
	return properties
}

// addModules adds the Go modules of changed programs.
func (r *diffReport) addModules(a, b *artifact, programs [2]map[int]string) error {
	before, err := goModules(a, programs[0])
	if err != nil {
		return a.fail(err)
	}
	after, err := goModules(b, programs[1])
	if err != nil {
		return b.fail(err)
	}
	for i := range r.Entries {
		entry := &r.Entries[i]
		entry.Modules = mapDeltas(before[entry.Name], after[entry.Name])
	}
	return nil
}

// maxProgram bounds a program that is looked into, in bytes.
const maxProgram = 512 << 20

// goModules gives the modules of those entries that are Go programs, by their
// paths: module -> version. What is no Go program has none.
func goModules(a *artifact, numbers map[int]string) (map[string]map[string]string, error) {
	programs := map[string]map[string]string{}
	if len(numbers) == 0 {
		return programs, nil
	}
	_, err := initramfs.Walk(a.file, a.size, func(entry *initramfs.Entry, body io.Reader) error {
		path, wanted := numbers[entry.Number]
		if !wanted {
			return nil
		}
		magic := make([]byte, 4)
		if n, err := io.ReadFull(body, magic); err != nil || string(magic[:n]) != "\x7fELF" {
			return nil // a file that is cut is an error of the walk
		}
		if entry.Size > maxProgram {
			return fmt.Errorf("read program %q: %d bytes, want at most %d", path, entry.Size, maxProgram)
		}
		program, err := io.ReadAll(io.MultiReader(bytes.NewReader(magic), body))
		if err != nil {
			return fmt.Errorf("read program %q: %w", path, err)
		}
		if info, err := buildinfo.Read(bytes.NewReader(program)); err == nil {
			programs[path] = modulesOf(info)
		}
		return nil
	})
	return programs, err
}

// modulesOf gives the modules of a program, and the toolchain as "go".
func modulesOf(info *buildinfo.BuildInfo) map[string]string {
	modules := map[string]string{"go": info.GoVersion}
	if info.Main.Path != "" {
		modules[info.Main.Path] = info.Main.Version
	}
	for _, module := range info.Deps {
		version := module.Version
		if module.Replace != nil {
			version += " => " + module.Replace.Path + "@" + module.Replace.Version
		}
		modules[module.Path] = version
	}
	return modules
}

// sortedKeys are the keys of both maps.
func sortedKeys[K cmp.Ordered, V any](a, b map[K]V) []K {
	all := map[K]bool{}
	for _, m := range []map[K]V{a, b} {
		for key := range maps.Keys(m) {
			all[key] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
