package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// logInterval is how often logs -f looks for more.
const logInterval = 100 * time.Millisecond

func logsCommand() *cobra.Command {
	var follow, serial bool
	var tail int
	cmd := &cobra.Command{
		Use:   "logs [flags] VM",
		Short: "Print what a machine's command printed",
		Long: `Print what the command of the machine called VM, running or ended, printed, on
its standard output or its standard error. Of much output the last 8 MiB are
kept, or up to 16.`,
		Example: `  kindling logs web
  kindling logs -f --tail 20 web`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			return checkName(args[0])
		}),
		ValidArgsFunction: completeMachines(1, anyMachine),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail < -1 {
				return usageError{fmt.Errorf("--tail is %d, want at least 0, or -1 for all", tail)}
			}
			file := outputFile
			if serial {
				file = serialFile
			}
			return printLog(cmd.Context(), args[0], file, tail, follow, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on until the machine has ended")
	flags.IntVarP(&tail, "tail", "n", -1, "print the last `LINES` only; -1 is all")
	flags.BoolVar(&serial, "serial", false, "print all that came over the serial port, of the kernel as well")
	addEnvironment(cmd)
	return cmd
}

// printLog prints one of a machine's logs.
func printLog(ctx context.Context, name, file string, tail int, follow bool, w io.Writer) (err error) {
	state, err := stateDir()
	if err != nil {
		return err
	}
	// One that ends now is followed to its end.
	ended := ctx
	if follow {
		ended, _, err = running(ctx, state, name)
		if errors.Is(err, errNotRunning) {
			follow = false
		} else if err != nil {
			return err
		}
	}
	log, err := openLog(state, name, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	if err := log.printTail(w, tail); err != nil || !follow {
		return err
	}
	tick := time.NewTicker(logInterval)
	defer tick.Stop()
	for {
		select {
		case <-ended.Done():
			if ctx.Err() != nil {
				return nil // the user has seen enough
			}
			return log.printMore(w)
		case <-tick.C:
			if err := log.printMore(w); err != nil {
				return err
			}
		}
	}
}

// logReader reads a log that may still grow, see vm.SerialLog. Its folder may be
// moved meanwhile.
type logReader struct {
	dir  *os.Root
	name string
	file *os.File // nil until there is one
}

func openLog(state, name, file string) (*logReader, error) {
	for _, folder := range []string{machinesFolder, endedFolder} {
		dir, err := os.OpenRoot(filepath.Join(state, folder, name))
		if err == nil {
			return &logReader{dir: dir, name: file}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read log of machine %s: %w", name, err)
		}
	}
	return nil, fmt.Errorf("no machine is called %s", name)
}

func (l *logReader) close() error {
	err := l.dir.Close()
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return err
}

// printTail prints what is in the log.
func (l *logReader) printTail(w io.Writer, lines int) (err error) {
	older, err := l.dir.Open(l.name + ".1")
	if err == nil {
		l.file = older
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read log: %w", err)
	}
	if lines < 0 {
		return l.printMore(w)
	}
	var text bytes.Buffer
	if err := l.printMore(&text); err != nil {
		return err
	}
	_, err = w.Write(tailOf(text.Bytes(), lines))
	return err
}

// tailOf is the last lines of a text, of which the last may lack its end.
func tailOf(text []byte, lines int) []byte {
	if lines == 0 {
		return nil
	}
	at := len(bytes.TrimSuffix(text, []byte("\n")))
	for range lines {
		if at = bytes.LastIndexByte(text[:at], '\n'); at < 0 {
			return text
		}
	}
	return text[at+1:]
}

// printMore prints what is new in the log.
func (l *logReader) printMore(w io.Writer) error {
	for {
		newest, err := l.dir.Open(l.name)
		if errors.Is(err, fs.ErrNotExist) { // the machine starts, or the log's next file is to come
			if l.file == nil {
				return nil
			}
			_, err = io.Copy(w, l.file)
			return err
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if l.file == nil {
			l.file = newest
			continue
		}
		same, err := sameFile(l.file, newest)
		if err != nil {
			return errors.Join(fmt.Errorf("read log: %w", err), newest.Close())
		}
		// The older file is complete as soon as there is a newer one.
		if _, err := io.Copy(w, l.file); err != nil {
			return errors.Join(fmt.Errorf("read log: %w", err), newest.Close())
		}
		if same {
			return newest.Close()
		}
		older, err := l.isOlder()
		if err != nil || !older {
			err = errors.Join(err, errors.New("read log: it grew faster than it was read"))
			return errors.Join(err, newest.Close())
		}
		if err := l.file.Close(); err != nil {
			return errors.Join(fmt.Errorf("read log: %w", err), newest.Close())
		}
		l.file = newest
	}
}

// isOlder tells whether the file that is read is the one before the newest.
func (l *logReader) isOlder() (older bool, err error) {
	file, err := l.dir.Open(l.name + ".1")
	if err != nil {
		return false, fmt.Errorf("read log: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return sameFile(file, l.file)
}

func sameFile(a, b *os.File) (bool, error) {
	first, err := a.Stat()
	if err != nil {
		return false, err
	}
	second, err := b.Stat()
	return err == nil && os.SameFile(first, second), err
}
