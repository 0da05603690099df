// Cachecheck compares the execution logs of two builds and names what made
// their actions differ, and with that what keeps one build from finding in a
// shared cache what the other has put there. An action that differs only since
// another one made its input is counted, and not named as a cause.
//
// It does not build, and it does not ask a cache: docs/remote-cache.md says how
// to get the logs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kindling-vm/kindling/tools/internal/execlog"
)

const usage = `usage: cachecheck [-o text|json] LOG_A LOG_B

LOG is what Bazel writes with --execution_log_json_file.
It exits with 0 when the builds are equal, 1 when they differ, 2 when it cannot tell.
`

// errDiffer says that the logs could be compared and are not equal.
var errDiffer = errors.New("builds differ")

func main() {
	err := run(os.Args[1:], os.Getenv("BUILD_WORKING_DIRECTORY"), os.Stdout, os.Stderr)
	os.Exit(exitCode(err, os.Stderr))
}

// exitCode is that of diff(1). It prints errors that the report has not told.
func exitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errDiffer):
		return 1
	default:
		fmt.Fprintf(stderr, "cachecheck: %v\n", err)
		return 2
	}
}

// run takes the names of logs as seen from dir, which Bazel sets to where the
// user called it; "" is the working directory.
func run(args []string, dir string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("cachecheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout) // an asked-for usage text is a result
		}
	}
	format := flags.String("o", "text", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	write := map[string]func(*report, io.Writer) error{"text": (*report).text, "json": (*report).json}[*format]
	switch {
	case write == nil:
		return fmt.Errorf("output format %q is neither text nor json", *format)
	case flags.NArg() != 2:
		return fmt.Errorf("got %d logs, want 2", flags.NArg())
	}
	names := flags.Args()
	for i, name := range names {
		if !filepath.IsAbs(name) {
			names[i] = filepath.Join(dir, name)
		}
	}
	r, err := compareFiles(names[0], names[1])
	if err != nil {
		return err
	}
	if err := write(r, stdout); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if !r.Equal {
		return errDiffer
	}
	return nil
}

func compareFiles(nameA, nameB string) (*report, error) {
	c := newComparison()
	if err := addFile(nameA, c.addA); err != nil {
		return nil, err
	}
	if err := addFile(nameB, c.addB); err != nil {
		return nil, err
	}
	return c.report(), nil
}

// addFile calls add for the entries of a log.
func addFile(name string, add func(*execlog.Spawn) error) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := addAll(file, add); err != nil {
		return fmt.Errorf("read log %s: %w", name, err)
	}
	return nil
}

func addAll(log io.Reader, add func(*execlog.Spawn) error) error {
	reader := execlog.NewReader(log)
	for n := 0; ; n++ {
		spawn, err := reader.Next()
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return errors.New("it has no actions: its build had all outputs already")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := add(spawn); err != nil {
			return err
		}
	}
}
