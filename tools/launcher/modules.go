package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/tools/internal/mirror"
)

// goModules are the Bazel modules that are Go modules too, which is how they
// can be had without a registry of Bazel modules.
var goModules = map[string]string{
	"gazelle":  "github.com/bazelbuild/bazel-gazelle",
	"rules_go": "github.com/bazelbuild/rules_go",
}

// standIns are modules that stand in the module graph without being used by our
// builds: their files by name.
func standIns(home, sdk string) map[string]map[string]string {
	return map[string]map[string]string{
		"apple_support": nil,
		"protobuf":      nil,
		"zlib":          nil,
		// Only `bazel mod tidy` runs buildozer, in the workspace, whose go.mod has
		// it, and without an environment.
		"buildozer": {"buildozer_binary.bzl": fmt.Sprintf(buildozerExtension,
			quoteEscapes.Replace(shellQuote(home)), quoteEscapes.Replace(shellQuote(sdk+"/bin/go")))},
		// Where rules_go says which SDK runs here. It would name the download.
		hostSDKLabel: {"defs.bzl": `HOST_COMPATIBLE_SDK = Label("@@rules_go~~go_sdk~go_host_sdk//:ROOT")` + "\n"},
	}
}

const buildozerExtension = `def _empty_impl(ctx):
    ctx.file("BUILD.bazel", "")
    ctx.file("buildozer.exe", """#!/bin/sh
export HOME=%s
exec %s tool buildozer "$@"
""", executable = True)

_empty = repository_rule(_empty_impl)

def _extension_impl(_ctx):
    _empty(name = "buildozer_binary")

buildozer_binary = module_extension(_extension_impl)
`

// quoteEscapes are for what stands between double quotes, in Starlark as in rc
// files.
var quoteEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// hostSDKLabel is a repository that rules_go's extension makes.
const hostSDKLabel = "go_host_compatible_sdk_label"

var bazelDep = regexp.MustCompile(`(?m)^bazel_dep\(\s*name\s*=\s*"([a-z_]+)",\s*version\s*=\s*"([^"]+)"`)

// ensureModules lays out the Bazel modules that Debian does not package and
// gives the folder that holds them, one folder a module.
func (l *launcher) ensureModules(ctx context.Context, dir, goVersion, sdk string) (string, error) {
	data, err := os.ReadFile(filepath.Join(l.workspace, "MODULE.bazel"))
	if err != nil {
		return "", fmt.Errorf("read module versions: %w", err)
	}
	versions := map[string]string{}
	for _, match := range bazelDep.FindAllStringSubmatch(string(data), -1) {
		versions[match[1]] = match[2]
	}
	var sources []string
	for _, name := range slices.Sorted(maps.Keys(goModules)) {
		if versions[name] == "" {
			return "", fmt.Errorf("MODULE.bazel has no bazel_dep on %s", name)
		}
		sources = append(sources, goModules[name]+"@v"+versions[name])
	}
	standIns := standIns(os.Getenv("HOME"), sdk)
	standInsText, err := json.Marshal(standIns)
	if err != nil {
		return "", err
	}
	parts := []string{versions["rules_go"], versions["gazelle"], string(standInsText)}
	if l.mirror != nil {
		parts = append(parts, l.mirror.digest)
	}
	modules := filepath.Join(dir, "modules-"+digest(parts...))
	return modules, l.once(ctx, modules, func(partial string, lock *os.File) error {
		l.say("copying %s", strings.Join(sources, " and "))
		if l.mirror != nil {
			// No checksum database has a say in what go takes from there.
			if err := l.mirror.manifest.Verify(l.mirror.dir, mirror.GoProxy); err != nil {
				return l.mirror.broken(err)
			}
		}
		for name, path := range goModules {
			if err := l.copyGoModule(ctx, dir, goVersion, path+"@v"+versions[name], filepath.Join(partial, name)); err != nil {
				return fmt.Errorf("copy module %s: %w", name, err)
			}
		}
		// Gazelle builds itself in GOPATH mode, from a vendor folder.
		vendor := l.goCommand(ctx, filepath.Join(partial, "gazelle"), goVersion, "mod", "vendor")
		vendor.ExtraFiles = []*os.File{lock}
		if _, err := output(vendor); err != nil {
			return fmt.Errorf("vendor gazelle's modules: %w", err)
		}
		return writeStandIns(partial, standIns)
	})
}

func writeStandIns(modules string, standIns map[string]map[string]string) error {
	for name, files := range standIns {
		all := map[string]string{"BUILD.bazel": "", "MODULE.bazel": fmt.Sprintf("module(name = %q)\n", name)}
		maps.Copy(all, files)
		for file, text := range all {
			if err := writeFile(filepath.Join(modules, name, file), []byte(text)); err != nil {
				return fmt.Errorf("write stand-in for module %s: %w", name, err)
			}
		}
	}
	return nil
}

// copyGoModule copies a module that go verifies by its checksum database, or
// that a mirror's manifest has vouched for. Module zips carry no mode bits, so
// scripts get theirs back.
func (l *launcher) copyGoModule(ctx context.Context, dir, goVersion, module, to string) error {
	// The folder is outside any module.
	out, err := output(l.goCommand(ctx, dir, goVersion, "mod", "download", "-json", module))
	var info struct{ Dir, Error string }
	if json.Unmarshal([]byte(out), &info) == nil && info.Error != "" {
		return errors.New(info.Error) // go says it here, not on stderr
	}
	if err != nil {
		return err
	}
	if info.Dir == "" {
		return fmt.Errorf("parse go's answer about %s: no folder in %q", module, out)
	}
	return filepath.WalkDir(info.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		target := filepath.Join(to, strings.TrimPrefix(path, info.Dir))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(path, ".sh") {
			mode = 0o755
		}
		return os.WriteFile(target, data, mode)
	})
}

// rc is the options of the closed world, from a mirror where it is not nil.
func rc(modules string, from *offline) string {
	var b strings.Builder
	override := func(name, path string) {
		fmt.Fprintf(&b, "common \"--override_module=%s=%s\"\n", name, quoteEscapes.Replace(path))
	}
	b.WriteString("# Made by tools/launcher. Modules that Debian packages:\n")
	for _, module := range []struct{ name, path string }{
		{"bazel_features", "tools/features"},
		{"bazel_skylib", "tools/skylib"},
		{"platforms", "tools/platforms"},
		{"rules_cc", "rules/cc"},
		{"rules_java", "rules/java"},
		{"rules_license", "rules/license"},
		{"rules_proto", "rules/proto"},
		{"rules_python", "rules/python"},
		{"rules_shell", "rules/shell"},
	} {
		override(module.name, "/usr/share/bazel/"+module.path)
	}
	b.WriteString("# Modules that the Go module proxy serves, and stand-ins:\n")
	for _, name := range []string{"gazelle", "rules_go", "apple_support", "buildozer", "protobuf", "zlib"} {
		override(name, filepath.Join(modules, name))
	}
	b.WriteString("# The machine's Go SDK in place of a download:\n")
	b.WriteString("common --@rules_go//go/toolchain:sdk_version=host\n")
	fmt.Fprintf(&b, "common \"--override_repository=rules_go~~go_sdk~%s=%s\"\n", hostSDKLabel,
		quoteEscapes.Replace(filepath.Join(modules, hostSDKLabel)))
	if from == nil {
		return b.String()
	}
	b.WriteString("# The mirror in place of every download:\n")
	for _, dir := range from.distdirs() {
		fmt.Fprintf(&b, "common \"--distdir=%s\"\n", quoteEscapes.Replace(dir))
	}
	for _, variable := range from.env() {
		fmt.Fprintf(&b, "common \"--repo_env=%s\"\n", quoteEscapes.Replace(variable))
	}
	return b.String()
}
