package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

// Exit codes of the verbs of artifact sets, beside exitUsage.
const (
	exitFailed      = 1
	exitNotThere    = 3
	exitNotVerified = 4
	exitSource      = 5
	exitStorage     = 6
	exitBusy        = 7
	exitUnsupported = 8
)

// exitCodesTopic is a page of the help.
func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What exit codes mean",
		Long: `Exit codes of install, ls, resolve, paths, verify, gc, pull, push and doctor:
    0  done, also where there was nothing to do
    1  another failure; doctor: something is wrong
    2  the command line makes no sense
    3  not found: a set, a file of it, a folder, an archive, a page of a
       server, a reference in a registry
    4  verification failed: other bytes, no signature by a trusted key, a tag where
       a pin is needed, a data directory that others could tamper with
    5  a source or registry did not give what it should: it cannot be reached, it
       refuses, or what it has is wrong
    6  the disk is full or read-only
    7  another process is at it
    8  install, resolve, paths, pull: the set has nothing for the architecture

Where several are true, the first of 4, 6, 7, 8, 3, 5 counts.

Exit codes of run and exec are those of the command in the guest, and for these
and all other verbs:
    2  the command line makes no sense
  124  the time that kindling exec gave the command was over
  125  kindling itself failed, also where there is no such machine
  126  the command cannot be executed
  127  the command was not found
  128 plus the number of a signal that killed the command

cp and stat exit with 1 where a path is not what it should be, artifact diff where
there are differences.`,
	}
}

// unreachedError is an error of a registry.
type unreachedError struct{ error }

func (e unreachedError) Unwrap() error { return e.error }

// ofRegistry makes an error of package registry one of the registry, as far as
// it is not one of this machine.
func ofRegistry(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	return unreachedError{err}
}

// setVerb gives the errors of a verb of artifact sets their exit codes.
func setVerb(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd, args)
		if _, decided := errors.AsType[commandExit](err); err == nil || decided || isUsage(err) {
			return err
		}
		return commandExit{setExitCode(err), err.Error()}
	}
}

func setExitCode(err error) int {
	switch {
	case isUnverified(err):
		return exitNotVerified
	case isError[*system.StorageError](err):
		return exitStorage
	case errors.Is(err, registry.ErrBusy):
		return exitBusy
	case errors.Is(err, bundle.ErrUnsupportedArch), errors.Is(err, system.ErrUnsupportedVersion):
		return exitUnsupported
	case errors.Is(err, fs.ErrNotExist):
		return exitNotThere
	case errors.Is(err, system.ErrDownloadFailed), isError[unreachedError](err):
		return exitSource
	default:
		return exitFailed
	}
}

// isError reports whether an error of a type is in the chain.
func isError[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// isUnverified tells bytes that are not those that somebody vouched for.
func isUnverified(err error) bool {
	if isError[*system.CorruptError](err) || isError[*bundle.MismatchError](err) {
		return true
	}
	for _, target := range []error{
		signature.ErrMissing, signature.ErrUntrusted, signature.ErrOtherSet,
		registry.ErrUnpinned, registry.ErrOtherSet, system.ErrUnsafe,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
