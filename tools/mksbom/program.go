package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// program is one of our own in the initrd.
type program struct {
	dest      string // in the initrd, "usr/local/bin/guest-agent"
	path      string // import path of its package main
	main      string // path of the module that the package is in
	goVersion string // 1.26.8
	sha256    string
	modules   []module // linked into it, sorted
}

// module is a Go module, as go.sum names it.
type module struct {
	path, version string
	sum           string // h1:BASE64
	digest        string // the same in 64 lower-case hexadecimal digits
}

func (p *program) ref() string { return "program:/" + p.dest }

func (m module) ref() string { return "module:" + m.path + "@" + m.version }

func (m module) purl() string { return packageURL("golang", m.path, m.version, "") }

func compareModules(a, b module) int {
	return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.version, b.version))
}

// readProgram looks at a program. Infofile has the build information of one that
// does not carry it: rules_go links programs that know their Go version alone.
func readProgram(dest, file, infofile string, sums map[string]string) (*program, error) {
	info, err := readBuildInfo(file, infofile)
	if err != nil {
		return nil, err
	}
	p := &program{dest: dest, path: info.Path, main: info.Main.Path}
	if p.path != p.main && !strings.HasPrefix(p.path, p.main+"/") {
		return nil, fmt.Errorf("package %q is not in module %q", p.path, p.main)
	}
	version, _, _ := strings.Cut(info.GoVersion, " ") // experiments follow
	version, ok := strings.CutPrefix(version, "go")
	if !ok {
		return nil, fmt.Errorf("go version %q is not that of a release", info.GoVersion)
	}
	p.goVersion = version
	for _, dep := range info.Deps {
		m, err := readModule(dep, sums)
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", dep.Path, err)
		}
		p.modules = append(p.modules, m)
	}
	slices.SortFunc(p.modules, compareModules)
	for i := 1; i < len(p.modules); i++ {
		if p.modules[i].path == p.modules[i-1].path {
			return nil, fmt.Errorf("module %s stands twice", p.modules[i].path)
		}
	}
	p.sha256, err = hashFile(file)
	return p, err
}

func readBuildInfo(file, infofile string) (*debug.BuildInfo, error) {
	inside, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if infofile == "" {
		if inside.Path == "" || inside.Main.Path == "" {
			return nil, errors.New("it names no package and no module, and there is no --buildinfo for it")
		}
		return inside, nil
	}
	if inside.Path != "" {
		return nil, fmt.Errorf("it has build information, and %s too", infofile)
	}
	data, err := os.ReadFile(infofile)
	if err != nil {
		return nil, err
	}
	given, err := debug.ParseBuildInfo(string(data))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", infofile, err)
	}
	// ParseBuildInfo leaves out what it does not know.
	if given.String() != string(data) || given.Path == "" || given.Main.Path == "" {
		return nil, fmt.Errorf("read %s: want lines path, mod and dep of build information, in this order and nothing else", infofile)
	}
	given.GoVersion = inside.GoVersion
	return given, nil
}

// readModule gives the module with the sum that its build information or go.sum
// has.
func readModule(dep *debug.Module, sums map[string]string) (module, error) {
	if dep.Replace != nil {
		dep = dep.Replace
	}
	m := module{path: dep.Path, version: dep.Version, sum: dep.Sum}
	if !strings.HasPrefix(m.version, "v") {
		return module{}, fmt.Errorf("version %q is not that of a published module", m.version)
	}
	known, ok := sums[m.path+"@"+m.version]
	switch {
	case m.sum == "" && !ok:
		return module{}, fmt.Errorf("version %s has no sum, and go.sum has none either", m.version)
	case m.sum == "":
		m.sum = known
	case ok && m.sum != known:
		return module{}, fmt.Errorf("version %s has sum %s, but %s in go.sum", m.version, m.sum, known)
	}
	encoded, ok := strings.CutPrefix(m.sum, "h1:")
	digest, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(digest) != sha256.Size {
		return module{}, fmt.Errorf("version %s has sum %q, want h1: and a SHA-256 in base64", m.version, m.sum)
	}
	m.digest = hex.EncodeToString(digest)
	return m, nil
}

// readSums reads go.sum: sums of modules by PATH@VERSION. Those of go.mod files
// alone are not among them.
func readSums(name string) (map[string]string, error) {
	sums := map[string]string{}
	if name == "" {
		return sums, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read go.sum: %w", err)
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		words := strings.Fields(line)
		if len(words) != 3 || !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("read %s, line %d: want a module, a version and a sum", name, number)
		}
		key := words[0] + "@" + words[1]
		if known, ok := sums[key]; ok && known != words[2] {
			return nil, fmt.Errorf("read %s, line %d: %s has another sum above", name, number, key)
		}
		sums[key] = words[2]
	}
	return sums, nil
}
