// Mksite makes a static web site of the documents in docs/: their pages, with
// navigation, and pages of reference that it makes from the lock, the build's
// rules and the command line's own description. A link or an anchor that leads
// nowhere is an error. What it makes needs no server, no network and no script.
//
// It is no general site generator: it knows the one layout that docs/ has.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/kindling-vm/kindling/system/lock"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "mksite: %v\n", err)
		os.Exit(1)
	}
}

const usage = `usage: mksite [flags] --out FOLDER FILE...

FILE is a page, NAME.md, or a file that pages link to. One is index.md, which
lists all others in the order in which they are to be read.
`

// options are the command line.
type options struct {
	out   string
	cli   string
	lock  string
	bzl   []starlarkFile
	files []string
}

func run(args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stdout, stderr)
	if err != nil {
		return err
	}
	files, err := gather(o)
	if err != nil {
		return err
	}
	site, err := build(files)
	if err != nil {
		return err
	}
	return writeFolder(o.out, site)
}

// parse reads the command line. An asked-for usage text is a result and goes to
// stdout.
func parse(args []string, stdout, stderr io.Writer) (*options, error) {
	var o options
	flags := flag.NewFlagSet("mksite", flag.ContinueOnError)
	flags.SetOutput(stderr)
	if slices.ContainsFunc(args, func(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }) {
		flags.SetOutput(stdout)
	}
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.out, "out", "", "`FOLDER` to make, which may exist if it is empty")
	flags.StringVar(&o.cli, "cli", "", "add `FILE`, the reference that kindling docs markdown writes")
	flags.StringVar(&o.lock, "lock", "", "add a page of the kernels in artifacts.lock.json `FILE`")
	flags.Func("bzl", "add a rule's file to the page of rules, `PATH=FILE`, by its path in the repository; can be repeated",
		func(s string) error {
			path, file, found := strings.Cut(s, "=")
			if !found || !filepath.IsLocal(path) || file == "" {
				return errors.New("want PATH=FILE")
			}
			o.bzl = append(o.bzl, starlarkFile{path: path, name: file})
			return nil
		})
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if o.out == "" {
		return nil, errors.New("flag --out is missing")
	}
	if o.files = flags.Args(); len(o.files) == 0 {
		return nil, errors.New("no FILE given")
	}
	return &o, nil
}

// gather reads the files by their names, and makes the pages of reference.
func gather(o *options) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range o.files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read page: %w", err)
		}
		if _, found := files[filepath.Base(name)]; found {
			return nil, fmt.Errorf("read page: %s is given twice", filepath.Base(name))
		}
		files[filepath.Base(name)] = data
	}
	var references []reference
	if o.cli != "" {
		data, err := os.ReadFile(o.cli)
		if err != nil {
			return nil, fmt.Errorf("read reference of the command line: %w", err)
		}
		references = append(references, reference{"cli.md", "Command line", "every verb, flag and environment variable", data})
	}
	if o.lock != "" {
		data, err := os.ReadFile(o.lock)
		if err != nil {
			return nil, fmt.Errorf("read lock: %w", err)
		}
		l, err := lock.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("parse lock %s: %w", o.lock, err)
		}
		references = append(references, reference{"kernels.md", "Kernels", "versions, architectures, headers and origins", kernelsPage(l)})
	}
	if len(o.bzl) > 0 {
		page, err := rulesPage(o.bzl)
		if err != nil {
			return nil, err
		}
		references = append(references, reference{"rules.md", "Build rules", "rules, macros and providers of Bazel", page})
	}
	return files, addReferences(files, references)
}

// reference is a page that is made here or by another program, of which the
// index in the repository does not know.
type reference struct {
	name, title, about string
	page               []byte
}

// addReferences adds pages, and a last section of the index that lists them.
func addReferences(files map[string][]byte, references []reference) error {
	if len(references) == 0 {
		return nil
	}
	index := append(slices.Clone(files[indexName]), "\n## Reference\n\n"...)
	for _, r := range references {
		if _, found := files[r.name]; found {
			return fmt.Errorf("add reference: there is a page %s", r.name)
		}
		files[r.name] = r.page
		index = fmt.Appendf(index, "- [%s](%s): %s\n", r.title, r.name, r.about)
	}
	files[indexName] = index
	return nil
}

// writeFolder makes a folder with all files, or none.
func writeFolder(out string, files map[string][]byte) (err error) {
	temp, err := os.MkdirTemp(filepath.Dir(out), ".mksite-")
	if err != nil {
		return fmt.Errorf("make site: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeFile(filepath.Join(temp, name), files[name]); err != nil {
			return fmt.Errorf("write site: %w", err)
		}
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return fmt.Errorf("make site: %w", err)
	}
	// Bazel makes an empty folder of that name, which rename(2) replaces, unlike
	// os.Rename.
	if err := syscall.Rename(temp, out); err != nil {
		return fmt.Errorf("make site: rename to %s: %w", out, err)
	}
	return nil
}

// writeFile writes a file of mode 0644 whatever the umask.
func writeFile(name string, data []byte) (err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Chmod(0o644)
}
