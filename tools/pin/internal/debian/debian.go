// Package debian finds a package in the index of a Debian mirror: its version,
// where it lies and what bytes it has. It trusts the index as far as Debian's
// signature reaches and says where that is missing.
//
// It downloads no packages and resolves no dependencies.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ulikunitz/xz"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

// Keyring has the keys of Debian's archive, where the package
// debian-archive-keyring is installed.
const Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// arches are Debian's names of architectures.
var arches = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "all": "all"}

// Arch is Debian's name of an architecture, or "".
func Arch(arch string) string { return arches[arch] }

// Query says what to look for.
type Query struct {
	Mirror  string // URL, without a slash at its end
	Suite   string // as in bookworm
	Arch    string // x86_64, aarch64 or all
	Package string
	Version string // "" takes the only one
	Keyring string // file
}

// Package is an entry of an index.
type Package struct {
	Version string
	Path    string // below the mirror
	SHA256  string
	Size    int64 // in bytes
}

// Limits of what is fetched, in bytes. Those of Debian 12 have a tenth of it.
const (
	maxRelease  = 4 << 20
	maxPackages = 128 << 20
)

// Find looks for a package in the part main of a suite. Warning tells, unless it
// is "", why nobody vouches for the answer.
func Find(ctx context.Context, client *fetch.Client, q Query) (found Package, warning string, err error) {
	if found, warning, err = find(ctx, client, q); err != nil {
		return Package{}, "", fmt.Errorf("find package %s in %s: %w", q.Package, q.Suite, err)
	}
	return found, warning, nil
}

func find(ctx context.Context, client *fetch.Client, q Query) (Package, string, error) {
	arch := Arch(q.Arch)
	if arch == "" {
		return Package{}, "", fmt.Errorf("architecture %q is none of x86_64, aarch64 and all", q.Arch)
	}
	base := q.Mirror + "/dists/" + q.Suite + "/"
	inRelease, err := client.Bytes(ctx, request(base+"InRelease", maxRelease))
	if err != nil {
		return Package{}, "", err
	}
	text, warning, err := verify(ctx, inRelease, q.Keyring)
	if err != nil {
		return Package{}, "", fmt.Errorf("verify InRelease: %w", err)
	}
	release, err := parseRelease(text)
	if err != nil {
		return Package{}, "", fmt.Errorf("parse InRelease: %w", err)
	}
	// A signature vouches for every suite.
	if release.codename != q.Suite && release.suite != q.Suite {
		return Package{}, "", fmt.Errorf("got InRelease of suite %s (%s)", release.codename, release.suite)
	}
	indexArch := arch
	if arch == "all" {
		indexArch = "amd64" // each index has them too
	}
	name := "main/binary-" + indexArch + "/Packages.xz"
	want, ok := release.files[name]
	if !ok {
		return Package{}, "", fmt.Errorf("InRelease has no %s", name)
	}
	packed, err := client.Bytes(ctx, request(base+name, maxPackages))
	if err != nil {
		return Package{}, "", err
	}
	if got := describe(packed); got != want {
		return Package{}, "", fmt.Errorf("%s has SHA-256 %s (%d bytes), InRelease says %s (%d bytes): the mirror may just be changing, try again",
			name, got.sha256, got.size, want.sha256, want.size)
	}
	index, err := xz.NewReader(bytes.NewReader(packed))
	if err != nil {
		return Package{}, "", fmt.Errorf("decompress %s: %w", name, err)
	}
	versions, err := parsePackages(index, q.Package, arch)
	if err != nil {
		return Package{}, "", fmt.Errorf("parse %s: %w", name, err)
	}
	found, err := choose(versions, q.Version)
	return found, warning, err
}

// request allows http, which most mirrors speak: Debian signs what is asked for.
func request(url string, maxSize int64) fetch.Request {
	return fetch.Request{URL: url, AnyHTTP: true, MaxSize: maxSize}
}

// choose takes the version that is wanted, or the only one. Which of two is the
// newer one is left to people.
func choose(versions []Package, want string) (Package, error) {
	var names []string
	for _, found := range versions {
		if found.Version == want || want == "" && len(versions) == 1 {
			return found, nil
		}
		names = append(names, found.Version)
	}
	switch {
	case len(versions) == 0:
		return Package{}, errors.New("there is none of this name and architecture")
	case want == "":
		return Package{}, fmt.Errorf("there are several versions, want one of them: %s", strings.Join(names, ", "))
	default:
		return Package{}, fmt.Errorf("version %s is not there, but %s", want, strings.Join(names, ", "))
	}
}
