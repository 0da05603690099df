// Command protogen generates Go code from protocol buffer definitions with no
// protoc binary: it compiles the definitions itself and runs the usual plugins.
// Its output is a function of its arguments and of the files that they name, so
// it can run as a build action.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(exitCode(err))
	}
}
