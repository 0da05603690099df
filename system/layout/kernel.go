package layout

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// kernelPrefix stands before the version in the name of a kernel.
const kernelPrefix = "vmlinux-"

// kernelsDir is the folder of the kernels.
func kernelsDir(wrennDir string) string {
	return filepath.Join(wrennDir, "kernels")
}

// KernelPath is the kernel that has no version in its name.
func KernelPath(wrennDir string) string {
	return filepath.Join(kernelsDir(wrennDir), "vmlinux")
}

// KernelPathVersioned is the kernel of a version, which goes into the path as it
// is.
func KernelPathVersioned(wrennDir, version string) string {
	return filepath.Join(kernelsDir(wrennDir), kernelPrefix+version)
}

// LatestKernel finds the kernel of the newest version: regular files, or links
// to them, whose name is "vmlinux-" and a version.
//
// A version has a digit and, behind its first dot, no part that begins with a
// letter, so that 6.1.102.tmp, 6.1.102.sha256 and "old" are none; nor is
// 6.1.102~, an editor's copy. Versions compare part by part, between dots: each is
// the decimal number that it begins with, or 0, and a missing part is 0. Of those
// that are equal then, one of numbers and dots alone is newer than one with more
// to it, so 6.1.102-rc1 comes before 6.1.102; else the longer one is newer, and
// of the same length the one that is later in byte order.
func LatestKernel(wrennDir string) (path, version string, err error) {
	dir := kernelsDir(wrennDir)
	versions, err := kernelVersions(dir)
	if err != nil {
		return "", "", err
	}
	if len(versions) == 0 {
		return "", "", fmt.Errorf("no %s* files found in %s", kernelPrefix, dir)
	}
	version = slices.MaxFunc(versions, compareVersions)
	return KernelPathVersioned(wrennDir, version), version, nil
}

// FindKernel is LatestKernel, but takes the kernel without a version, as
// wrenn's own documents have users install it, where there is no other. Its
// version is "".
func FindKernel(wrennDir string) (path, version string, err error) {
	path, version, latestErr := LatestKernel(wrennDir)
	if latestErr == nil {
		return path, version, nil
	}
	path = KernelPath(wrennDir)
	ok, err := isFile(path)
	if err != nil || !ok {
		return "", "", errors.Join(latestErr, err)
	}
	return path, "", nil
}

func kernelVersions(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	var versions []string
	for _, entry := range entries {
		version, found := strings.CutPrefix(entry.Name(), kernelPrefix)
		if !found || !isVersion(version) {
			continue
		}
		ok, err := isFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read directory %s: %w", dir, err)
		}
		if ok {
			versions = append(versions, version)
		}
	}
	return versions, nil
}

// isFile tells a regular file or a link to one. A link that leads nowhere is
// none, as is what has gone meanwhile.
func isFile(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.Mode().IsRegular(), nil
}

func isVersion(text string) bool {
	parts := strings.Split(text, ".")
	return strings.ContainsAny(text, "0123456789") && !strings.HasSuffix(text, "~") &&
		!slices.ContainsFunc(parts[1:], func(part string) bool { return part != "" && isLetter(part[0]) })
}

func isLetter(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// compareVersions is below 0 if a is older than b, 0 only if they are the same.
func compareVersions(a, b string) int {
	numbersA, numbersB := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(numbersA), len(numbersB)) {
		if order := cmp.Compare(number(numbersA, i), number(numbersB, i)); order != 0 {
			return order
		}
	}
	return cmp.Or(
		cmp.Compare(plain(a), plain(b)),
		cmp.Compare(len(a), len(b)),
		strings.Compare(a, b),
	)
}

// number reads part i of a version as wrenn does, by the verb %d.
func number(parts []string, i int) int64 {
	if i >= len(parts) {
		return 0
	}
	var n int64
	if _, err := fmt.Sscanf(parts[i], "%d", &n); err != nil {
		return 0
	}
	return n
}

// plain is 1 for a version of numbers and dots alone, else 0.
func plain(version string) int {
	if strings.Trim(version, "0123456789.") == "" {
		return 1
	}
	return 0
}
