package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
)

// withGuest connects to the agent of a running machine, which may still boot.
func withGuest(ctx context.Context, name string, use func(context.Context, *agent.Client) error) (err error) {
	state, err := stateDir()
	if err != nil {
		return err
	}
	ctx, dir, err := running(ctx, state, name)
	if err != nil {
		return err
	}
	client, err := agent.NewHybridClient(vm.Vsock(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := waitAwake(ctx, name, dir, client); err != nil {
		return err
	}
	return use(ctx, client)
}

// exitPath is the exit code where a path that the user gave is not there, or
// not what it must be.
const exitPath = 1

func pathFailure(format string, args ...any) error {
	return exitWith(exitPath, fmt.Sprintf(format, args...))
}

// place is a path as the user gave it, of this machine or of a running one.
type place struct {
	machine string // empty for this machine
	path    string // clean, and absolute in a machine
	slash   bool   // it must be a folder, since a slash or /. is at its end
	dot     bool   // what is in the folder is meant, since . is at its end
}

// parsePlace reads VM:PATH or a path of this machine: one with a colon must
// start with / or a dot.
func parsePlace(arg string) (place, error) {
	machine, name, found := strings.Cut(arg, ":")
	if !found || filepath.IsAbs(arg) || strings.HasPrefix(arg, ".") {
		machine, name = "", arg
	} else if err := checkName(machine); err != nil {
		return place{}, err
	}
	if name == "" {
		return place{}, usageError{fmt.Errorf("%q has no path", arg)}
	}
	p := place{
		machine: machine,
		path:    filepath.Clean(name),
		slash:   strings.HasSuffix(name, "/"),
		dot:     name == "." || strings.HasSuffix(name, "/."),
	}
	p.slash = p.slash || p.dot
	if machine != "" {
		p.path = path.Clean("/" + name)
	}
	return p, nil
}

func (p place) String() string {
	if p.machine == "" {
		return printable(p.path)
	}
	return printable(p.machine + ":" + p.path)
}
