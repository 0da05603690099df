// Kindling runs OCI images in small virtual machines on this machine, and installs
// and checks the kernels and initrds that such machines boot from.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	// Bazel starts programs elsewhere and says where the user stands.
	if dir := os.Getenv("BUILD_WORKING_DIRECTORY"); dir != "" {
		if err := os.Chdir(dir); err != nil {
			fmt.Fprintf(os.Stderr, "kindling: %v\n", err)
			os.Exit(exitOwn)
		}
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes beside those of the command in the guest, as docker has them.
const (
	exitUsage = 2
	exitOwn   = 125 // kindling itself failed
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

// commandExit is the end of a command in the guest that was not 0. Why has what
// the user cannot know from the code alone.
type commandExit struct {
	code int
	why  string
}

func (e commandExit) Error() string {
	return cmp.Or(e.why, fmt.Sprintf("command ended with exit code %d", e.code))
}

// exitWith ends kindling as the command in the guest ended.
func exitWith(code int, why string) error {
	switch {
	case code == 0:
		return nil
	case code < 0 || code > 255:
		return fmt.Errorf("guest gave exit code %d, want 0 to 255", code)
	}
	return commandExit{code, why}
}

// stopSignals ask for an end.
var stopSignals = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}

// run gives the process's exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// The reader of our output may go away while a machine runs: that is an error
	// of a write, not our death.
	signal.Ignore(unix.SIGPIPE)
	ctx, stop := untilSignal(context.Background())
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addDefaults(root)
	code, text := ending(root.ExecuteContext(ctx))
	if text != "" {
		fmt.Fprintf(stderr, "kindling: %s\n", text)
	}
	return code
}

// untilSignal gives a context that the first of stopSignals ends, whose cause
// tells which: that of signal.NotifyContext has a text only. The second signal
// ends the process, unless a machine runs.
func untilSignal(parent context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, stopSignals...)
	go func() {
		select {
		case sig := <-signals:
			signal.Stop(signals)
			cancel(interruption{sig.(unix.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// ending is the exit code that an error means, and what it says beyond that.
func ending(err error) (code int, text string) {
	if err == nil {
		return 0, ""
	}
	var exit commandExit
	var usage usageError
	if !errors.As(err, &exit) {
		exit.code = exitOwn
		if errors.As(err, &usage) {
			exit.code = exitUsage
		}
	}
	if text = err.Error(); text == (commandExit{code: exit.code}).Error() {
		text = ""
	}
	return exit.code, text
}
