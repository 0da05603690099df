// Hostside does once what a host does through the packages of this module, for
// bench, which measures it as a process: it installs a set, or flattens an
// image. It is no tool for hosts; kindling is.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "hostside: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "install":
		store := system.NewStore(args[2], system.Options{Sources: []system.Source{system.Dir(args[1])}})
		_, err := store.Install(ctx, "", "x86_64")
		return err
	case len(args) == 3 && args[0] == "flatten":
		image, err := rootfs.Load(ctx, args[2], v1.Platform{OS: "linux", Architecture: "amd64"}, rootfs.Options{})
		if err != nil {
			return err
		}
		_, err = image.WriteDisk(ctx, args[1], nil)
		return err
	default:
		return errors.New("want install SET DATADIR, or flatten DISK LAYOUT")
	}
}
