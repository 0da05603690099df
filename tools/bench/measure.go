package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// figure is what several contenders do each in their way.
type figure struct {
	name       string
	contenders []contender
	reference  string // contender that the others' ratios are to
	levels     []level
	// series and scale say that it is one of several figures of the same work on
	// so many times the input.
	series string
	scale  int
	// collect makes a figure of what one run of the first contender printed, in
	// place of its time.
	collect func(output []byte) ([]sample, error)
}

// contender is one way to do the work: commands, one after the other, and what
// they make.
type contender struct {
	name     string
	prepare  func() error // not timed; nil is nothing
	commands [][]string
	env      []string
	output   string // file or folder that is removed before it runs; "" is none
	again    bool   // runs on what the contender before it left
}

// sample is one value of a benchmark that measures itself.
type sample struct {
	name, unit string
	value      float64
}

// usageOf is what a command took.
type usageOf struct {
	duration time.Duration
	cpu      time.Duration // of all its threads, in the program and in the kernel
	peak     int64         // bytes: largest resident size of it or a child of it
	stdout   []byte
}

// bench has what suites need to run commands.
type bench struct {
	*options
	dir     string // for inputs and outputs
	stderr  io.Writer
	execute func(ctx context.Context, env, argv []string) (*usageOf, error)
	ends    []func(context.Context) error
}

// atEnd has something done after the suite, whether it could be measured or not.
func (b *bench) atEnd(do func(context.Context) error) { b.ends = append(b.ends, do) }

// end does it also where ctx was ended.
func (b *bench) end(ctx context.Context) error {
	var errs []error
	for _, do := range slices.Backward(b.ends) {
		errs = append(errs, do(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}

// execute runs a command. The peak has a floor, the largest size that this
// process had: until exec a child shares its parent's memory, and Linux counts
// that (fs/exec.c, setmax_mm_hiwater_rss).
func execute(ctx context.Context, env, argv []string) (*usageOf, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	// A benchmark that is asked to end stops its machines.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	start := time.Now()
	err := cmd.Run()
	duration := time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s%s", strings.Join(argv, " "), err, tail(stdout.Bytes()), tail(stderr.Bytes()))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return nil, errors.New("the system does not tell what a process used")
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return &usageOf{duration: duration, cpu: cpu, peak: usage.Maxrss << 10, stdout: stdout.Bytes()}, nil
}

// tail is the end of a command's output, for an error.
func tail(output []byte) []byte {
	return output[max(0, len(output)-4096):]
}

// measure runs every contender once to warm up, and then in turn for as many
// rounds as there are to be.
//
// Each round begins with another one: the first has the worse time.
func (b *bench) measure(ctx context.Context, f figure) (*measured, error) {
	var table rows
	for round := range b.rounds + 1 {
		if f.collect != nil && round == 0 {
			continue // it warms up by itself
		}
		fmt.Fprintf(b.stderr, "bench: %s: round %d of %d\n", f.name, round, b.rounds)
		for _, c := range inTurn(f.contenders, max(0, round-1)) {
			samples, usage, err := b.runOnce(ctx, &f, &c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				table.add(samples, usage)
			}
		}
	}
	return f.summarize(table)
}

// inTurn gives the contenders in the order of a round. Those that run on what is
// left of another one stay behind it.
func inTurn(contenders []contender, round int) []contender {
	var starts []int
	for i, c := range contenders {
		if !c.again {
			starts = append(starts, i)
		}
	}
	start := starts[round%len(starts)]
	return slices.Concat(contenders[start:], contenders[:start])
}

func (b *bench) runOnce(ctx context.Context, f *figure, c *contender) ([]sample, *row, error) {
	if c.output != "" && !c.again {
		if err := os.RemoveAll(c.output); err != nil {
			return nil, nil, fmt.Errorf("remove output: %w", err)
		}
		// What others have written is not to go to the disk beside this one.
		if _, err := b.execute(ctx, nil, []string{"sync"}); err != nil {
			return nil, nil, err
		}
	}
	if c.prepare != nil {
		if err := c.prepare(); err != nil {
			return nil, nil, err
		}
	}
	total := &row{}
	var duration time.Duration
	var stdout []byte
	for _, argv := range c.commands {
		usage, err := b.execute(ctx, c.env, argv)
		if err != nil {
			return nil, nil, err
		}
		duration += usage.duration
		total.CPU += usage.cpu.Seconds()
		total.Peak = max(total.Peak, usage.peak)
		stdout = append(stdout, usage.stdout...)
	}
	if f.collect != nil {
		samples, err := f.collect(stdout)
		total.CPU = 0 // of all that the benchmark does, not of a sample
		return samples, total, err
	}
	if c.output != "" {
		size, err := sizeOf(c.output)
		if err != nil {
			return nil, nil, err
		}
		total.Bytes = size
	}
	return []sample{{c.name, "s", duration.Seconds()}}, total, nil
}

// sizeOf is that of a file, or of all files below a folder, in bytes.
func sizeOf(name string) (int64, error) {
	var size int64
	err := filepath.WalkDir(name, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure output: %w", err)
	}
	return size, nil
}
