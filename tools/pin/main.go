// Pin keeps system/artifacts.lock.json: it fetches what an entry names, looks
// whether it is that, and writes down its digest; or it fetches everything again
// and says what has changed.
//
// It builds nothing, and Bazel does not need it: Bazel fetches by the digests
// that stand in the lock.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch"
)

func main() {
	// Bazel starts programs elsewhere and says where the user stands.
	if dir := os.Getenv("BUILD_WORKING_DIRECTORY"); dir != "" {
		if err := os.Chdir(dir); err != nil {
			fmt.Fprintf(os.Stderr, "pin: %v\n", err)
			os.Exit(1)
		}
	}
	os.Exit(run(fetch.New(), os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// run gives the process's exit code: 2 for a wrong command line, 1 for any other
// error.
func run(client *fetch.Client, args []string, stdout, stderr io.Writer) int {
	// The second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(ctx, stop)
	defer stop()
	root := rootCommand(&tool{client: client, stdout: stdout, stderr: stderr})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "pin: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}
