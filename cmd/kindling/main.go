// Kindling runs an OCI image in a small virtual machine on this machine.
package main

import (
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

// commandExit is the end of a command in the guest that was not 0.
type commandExit struct{ code int }

func (e commandExit) Error() string { return fmt.Sprintf("command ended with exit code %d", e.code) }

// run gives the process's exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// The second signal ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(ctx, stop)
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit commandExit
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "kindling: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "kindling: %v\n", err)
		return exitOwn
	}
}
