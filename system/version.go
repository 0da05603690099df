package system

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/lock"
)

// KernelVersion names a kernel as artifacts.lock.json and the data directory do.
type KernelVersion string

// Kernels of the hypeman host.
const (
	Kernel_202601152 KernelVersion = "ch-6.12.8-kernel-1.3-202601152"
	Kernel_202602101 KernelVersion = "ch-6.12.8-kernel-1.4-202602101"
)

//go:embed artifacts.lock.json
var lockDocument []byte

// embeddedLock is the lock that the sets of the same commit are built from.
var embeddedLock = sync.OnceValue(func() *lock.Lock {
	l, err := lock.Parse(lockDocument)
	if err != nil {
		panic(err) // a test of this package parses the same bytes
	}
	return l
})

// What hypeman's package has as variables. They are made from the lock and only
// for callers: this package reads none but DefaultKernelVersion, and that when a
// Store is made.
var (
	// DefaultKernelVersion is the kernel of the sets that are built by default.
	DefaultKernelVersion = KernelVersion(embeddedLock().Profiles["debian"].Kernel)
	// SupportedKernelVersions are all kernels of the lock, in order of their names.
	SupportedKernelVersions = supportedVersions()
	// KernelDownloadURLs is version -> architecture -> URL. Kernels that are in a
	// Debian package have none.
	KernelDownloadURLs = urls(func(a lock.Artifact) []lock.Artifact { return []lock.Artifact{a} })
	// KernelHeaderURLs is version -> architecture -> URL of the matching headers.
	KernelHeaderURLs = urls(headersOf)
)

func kernels() []lock.Artifact {
	return slices.DeleteFunc(slices.Clone(embeddedLock().Artifacts), func(a lock.Artifact) bool { return a.Kind != lock.Kernel })
}

func supportedVersions() []KernelVersion {
	var versions []KernelVersion
	for _, kernel := range kernels() {
		versions = append(versions, KernelVersion(kernel.Name))
	}
	return slices.Compact(versions)
}

func headersOf(kernel lock.Artifact) []lock.Artifact {
	var found []lock.Artifact
	for _, name := range kernel.Headers {
		if headers := embeddedLock().Lookup(name, kernel.Arch); headers != nil {
			found = append(found, *headers)
		}
	}
	return found
}

func urls(of func(kernel lock.Artifact) []lock.Artifact) map[KernelVersion]map[string]string {
	all := map[KernelVersion]map[string]string{}
	for _, kernel := range kernels() {
		for _, artifact := range of(kernel) {
			if len(artifact.URLs) == 0 {
				continue
			}
			version := KernelVersion(kernel.Name)
			if all[version] == nil {
				all[version] = map[string]string{}
			}
			all[version][kernel.Arch] = artifact.URLs[0]
		}
	}
	return all
}

var (
	versionPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}$`)
	idPattern      = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// checkVersion refuses what is no name of one folder.
func checkVersion(version KernelVersion) error {
	if !versionPattern.MatchString(string(version)) || version == latestName {
		return fmt.Errorf("kernel %.80q: %w", string(version), ErrUnsupportedVersion)
	}
	return nil
}

// pinned is the artifact of the lock for a kernel, or nil.
func pinned(version KernelVersion, arch string) *lock.Artifact {
	if a := embeddedLock().Lookup(string(version), arch); a != nil && a.Kind == lock.Kernel {
		return a
	}
	return nil
}

// kernelVersion is the lock's name of the kernel of a set. One that is not from
// the lock goes by its release, and without a description by its digest.
func kernelVersion(file bundle.File, arch string, info *bundle.KernelDescription) KernelVersion {
	for _, kernel := range kernels() {
		if kernel.Arch == arch && (kernel.SHA256 == file.SHA256 ||
			info != nil && kernel.Package == "linux-image-"+info.Release) {
			return KernelVersion(kernel.Name)
		}
	}
	if info != nil {
		if version := KernelVersion(info.Release); checkVersion(version) == nil && !strings.HasPrefix(info.Release, digestPrefix) {
			return version
		}
	}
	return KernelVersion(digestPrefix + file.SHA256)
}
