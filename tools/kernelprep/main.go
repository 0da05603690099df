// Kernelprep takes a kernel as its publisher ships it, a Debian package or a
// bare file, and checks that guests can run with it. It writes the kernel in the
// form that hypervisors load, its modules with the dependencies that depmod
// would find on an installed system, and a description of it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/kindling-vm/kindling/tools/internal/deb"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "kernelprep: %v\n", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	kernel, sha256, arch, refetch string
	requirements                  string
	image, modules, description   string // outputs
}

func run(args []string, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("kernelprep", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.kernel, "kernel", "", "Debian kernel package or bare kernel `FILE`")
	flags.StringVar(&o.sha256, "sha256", "", "the file's digest in `HEX`")
	flags.StringVar(&o.arch, "arch", "", "architecture that the kernel must be for")
	flags.StringVar(&o.refetch, "refetch", "", "`COMMAND` that fetches the file again, for the message about a changed one")
	flags.StringVar(&o.requirements, "requirements", "", "JSON `FILE` of the configuration that features need")
	flags.StringVar(&o.image, "image", "", "write the kernel as hypervisors load it to `FILE`")
	flags.StringVar(&o.modules, "modules", "", "write the package's modules to this tar.zst `FILE`")
	flags.StringVar(&o.description, "description", "", "write kernel.json to `FILE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, name := range []string{"kernel", "sha256", "arch", "requirements", "image", "description"} {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("missing flag --%s", name)
		}
	}
	if err := prepare(&o); err != nil {
		return fmt.Errorf("prepare kernel from %s: %w", o.kernel, deb.Advise(err, o.refetch))
	}
	return nil
}
