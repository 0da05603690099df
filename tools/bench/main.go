// Bench measures what users wait for, beside what others take for the same
// work: in every round each contender runs once, one after the other, and
// ratios are those of one round. A shared machine slows both.
//
// It is no test: a level that is not met is reported and is no error. An error
// is what could not be run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

const usage = `usage: bench [flags] SUITE...

SUITE is one of build, boot, agent, install, image, edit.
Tables go to stdout as Markdown, progress to stderr. It exits with 1 when something could not be run.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv("BUILD_WORKING_DIRECTORY"), os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	rounds            int
	peers             bool
	short             bool
	json, chart, note string
	initrd            string
	scratch           string
}

// suites make the figures of each suite. They put what they need into a folder.
var suites = map[string]func(ctx context.Context, b *bench) ([]figure, error){
	"agent":   agentSuite,
	"boot":    bootSuite,
	"build":   buildSuite,
	"edit":    editSuite,
	"image":   imageSuite,
	"install": installSuite,
}

// run takes the names of files as seen from dir, which Bazel sets to where the
// user called it; "" is the working directory.
func run(ctx context.Context, args []string, dir string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	for _, arg := range args {
		if arg == "-h" || arg == "-help" || arg == "--help" {
			flags.SetOutput(stdout) // an asked-for usage text is a result
		}
	}
	flags.IntVar(&o.rounds, "n", 5, "`ROUNDS` in which every contender runs once")
	flags.BoolVar(&o.peers, "peers", false, "also measure peers that `go install` or mmdebstrap has to fetch")
	flags.BoolVar(&o.short, "short", false, "leave out the largest inputs")
	flags.StringVar(&o.json, "json", "", "write all values to `FILE`")
	flags.StringVar(&o.chart, "chart", "", "write a bar chart as SVG to `FILE`")
	flags.StringVar(&o.note, "note", "", "`TEXT` to add to the line that describes the machine")
	flags.StringVar(&o.initrd, "initrd", "", "`FILE` whose content the suite build packs (default: that of the build)")
	flags.StringVar(&o.scratch, "scratch", "", "`FOLDER` for inputs and outputs, 8 GB of them (default: the temporary folder)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() == 0:
		return errors.New("name a suite: agent, boot, build, edit, image or install")
	case o.rounds < 1:
		return fmt.Errorf("%d rounds are not enough", o.rounds)
	}
	for _, name := range flags.Args() {
		if suites[name] == nil {
			return fmt.Errorf("suite %q is unknown", name)
		}
	}
	for _, name := range []*string{&o.json, &o.chart, &o.initrd, &o.scratch} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
	report, err := measureSuites(ctx, &o, flags.Args(), stderr)
	if report == nil || len(report.Suites) == 0 {
		return err
	}
	report.Command = "go run ./tools/bench "
	if dir != "" {
		report.Command = "tools/bazel run //tools/bench -- "
	}
	report.Command += strings.Join(args, " ")
	return errors.Join(err, write(report, &o, stdout))
}

// measureSuites gives the suites before the first that fails.
func measureSuites(ctx context.Context, o *options, names []string, stderr io.Writer) (*report, error) {
	line, err := machine(os.DirFS("/"))
	if err != nil {
		return nil, fmt.Errorf("describe machine: %w", err)
	}
	if o.note != "" {
		line += "; " + o.note
	}
	r := &report{Machine: line, Rounds: o.rounds}
	for _, name := range names {
		figures, err := measureSuite(ctx, o, name, stderr)
		if err != nil {
			return r, fmt.Errorf("suite %s: %w", name, err)
		}
		r.Suites = append(r.Suites, suite{Name: name, Figures: figures, Growth: growth(figures)})
	}
	return r, nil
}

// measureSuite runs a suite in a folder of its own.
func measureSuite(ctx context.Context, o *options, name string, stderr io.Writer) (_ []measured, err error) {
	dir, err := os.MkdirTemp(o.scratch, "bench-"+name+"-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{options: o, dir: dir, stderr: stderr, execute: execute}
	defer func() { err = errors.Join(err, b.end(ctx)) }()
	figures, err := suites[name](ctx, b)
	if err != nil {
		return nil, err
	}
	var all []measured
	for _, figure := range figures {
		result, err := b.measure(ctx, figure)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", figure.name, err)
		}
		all = append(all, *result)
	}
	return all, nil
}

func write(r *report, o *options, stdout io.Writer) error {
	if o.json != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		if err := writeFile(o.json, append(data, '\n')); err != nil {
			return err
		}
	}
	if o.chart != "" {
		if err := writeFile(o.chart, chart(chartGroups(r))); err != nil {
			return err
		}
	}
	return r.markdown(stdout)
}

func writeFile(name string, data []byte) error {
	err := renameio.WriteFile(name, data, 0o644, renameio.WithTempDir(filepath.Dir(name)), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
