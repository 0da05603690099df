//go:build !vm

package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// bazelVerbs are those that the pages use.
var bazelVerbs = []string{"build", "fetch", "mod", "run", "test"}

// bazelOptions are Bazel's own, of all verbs. What --config names is in .bazelrc.
var bazelOptions = []string{
	"distdir", "execution_log_json_file", "force", "noremote_accept_cached", "output_base", "repo", "test_tag_filters",
}

// parseBazel looks whether the verb, the options and the target of a command are
// there, and whether the target's program has the flags behind --.
func (h *host) parseBazel(t *testing.T, words []string) {
	t.Helper()
	before := beforeDash(words)
	behind := words[min(len(before)+1, len(words)):]
	verb, target := "", ""
	for _, word := range before {
		option, isOption := strings.CutPrefix(word, "--")
		option, value, _ := strings.Cut(option, "=")
		switch {
		case strings.HasPrefix(word, "//"):
			target = word
			requireTarget(t, target)
		case isOption && strings.HasPrefix(option, "//"):
			requireTarget(t, option)
		case isOption && option == "config":
			if !strings.Contains(readText(t, ".bazelrc"), ":"+value+" ") {
				t.Errorf("%q: .bazelrc has no config %s", words, value)
			}
		case isOption && !slices.Contains(bazelOptions, option):
			t.Errorf("%q: option --%s is not known; if Bazel has it, add it to bazelOptions", words, option)
		case !isOption && verb == "":
			verb = word
		}
	}
	if verb != "" && verb != "..." && !slices.Contains(bazelVerbs, verb) {
		t.Errorf("%q: verb %s is not known", words, verb)
	}
	if verb == "run" && len(behind) > 0 {
		h.parseProgram(t, target, behind)
	}
}

// parseProgram looks whether a program of the tree has flags.
func (h *host) parseProgram(t *testing.T, target string, words []string) {
	t.Helper()
	folder, name, isTest := strings.Cut(strings.TrimPrefix(target, "//"), ":")
	switch {
	case target == "//cmd/kindling":
		h.parseKindling(t, words)
		return
	case isTest && strings.HasSuffix(name, "_test"):
		for _, word := range words {
			if pattern, found := strings.CutPrefix(word, "-test.bench="); found && !hasTest(t, "Benchmark.*"+pattern) {
				t.Errorf("%s: there is no benchmark %s", target, pattern)
			}
		}
		return
	case target == "//system:push":
		folder = "system/push"
	}
	help := h.help(t, folder, words)
	for _, word := range words {
		flag := strings.TrimLeft(word, "-")
		if flag, _, _ = strings.Cut(flag, "="); flag == word || flag == "" || flag == "help" {
			continue
		}
		if !regexp.MustCompile(`(?m)(^|[\s,])--?` + regexp.QuoteMeta(flag) + `\b`).MatchString(help) {
			t.Errorf("%s %q: its help has no flag %s:\n%s", target, words, word, help)
		}
	}
}

// help is what a program of the tree says of itself, or of its verb.
func (h *host) help(t *testing.T, folder string, words []string) string {
	t.Helper()
	program := filepath.Join(h.programDir, path.Base(folder))
	if _, err := os.Stat(program); err != nil {
		build(t, program, "./"+folder)
	}
	args := []string{"--help"}
	if regexp.MustCompile(`^[a-z]+$`).MatchString(words[0]) {
		args = []string{words[0], "--help"}
	}
	// Some give 2 for it.
	out, err := exec.Command(program, args...).CombinedOutput()
	if len(out) == 0 {
		t.Fatalf("%s %q: %v, and it says nothing", folder, args, err)
	}
	return string(out)
}

// parseGo looks whether the packages and the test of a go command are there, and
// whether that has its own flags.
func (h *host) parseGo(t *testing.T, words []string) {
	t.Helper()
	folder := ""
	for i, word := range words {
		switch {
		case strings.HasPrefix(word, "./") && !strings.HasSuffix(word, "/..."):
			folder = word
			if info, err := os.Stat(filepath.Join(root, word)); err != nil || !info.IsDir() {
				t.Errorf("go %q: there is no folder %s", words, word)
			}
		case word == "-run" || word == "-bench":
			name := strings.Trim(words[i+1], "^$.")
			if prefix := map[string]string{"-run": "", "-bench": "Benchmark"}[word]; name != "" && !hasTest(t, prefix+name+".*") {
				t.Errorf("go %q: there is no test %s%s", words, prefix, name)
			}
		case strings.HasPrefix(word, "-") && folder != "" && !slices.Contains([]string{"-v", "-count"}, word):
			text := ""
			files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				text += string(data)
			}
			if !strings.Contains(text, `"`+strings.TrimLeft(word, "-")+`"`) {
				t.Errorf("go %q: %s has no flag %s", words, folder, word)
			}
		}
	}
}

// requireTarget looks for a target in the build file of its folder, where it may
// be made for each architecture.
func requireTarget(t *testing.T, label string) {
	t.Helper()
	folder, name, named := strings.Cut(strings.TrimPrefix(label, "//"), ":")
	if folder == "..." {
		return
	}
	if !named {
		name = path.Base(folder)
	}
	text := readText(t, filepath.Join(folder, "BUILD.bazel"))
	perArch := strings.TrimSuffix(strings.TrimSuffix(name, "x86_64"), "aarch64")
	for _, form := range []string{`"` + name + `"`, `"` + perArch + `" + arch`} {
		if strings.Contains(text, "name = "+form) {
			return
		}
	}
	t.Errorf("there is no target %s", label)
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tests are the names of all tests and benchmarks of the tree.
var tests []string

// hasTest reports whether there is a test or a benchmark, by a pattern of its
// name.
func hasTest(t *testing.T, pattern string) bool {
	t.Helper()
	if tests == nil {
		function := regexp.MustCompile(`(?m)^func ((Test|Benchmark|Fuzz)\w*)\(`)
		err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, "_test.go") {
				return err
			}
			data, err := os.ReadFile(name)
			for _, match := range function.FindAllStringSubmatch(string(data), -1) {
				tests = append(tests, match[1])
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	whole := regexp.MustCompile("^" + pattern + "$")
	return slices.ContainsFunc(tests, whole.MatchString)
}

// build builds a program of the tree.
func build(t *testing.T, output, pkg string, flags ...string) {
	t.Helper()
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", output}, flags, []string{pkg})...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}
