package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
)

// systemDataDir is where root's artifact sets are installed.
const systemDataDir = "/var/lib/kindling"

// setFlags are the flags of the verbs that work with installed artifact sets.
type setFlags struct {
	dataDir string
	format  string
}

// addSetFlags gives a command its flags; the others must be there already, as
// all get their environment variables here.
func addSetFlags(cmd *cobra.Command) *setFlags {
	f := &setFlags{}
	addDataDir(cmd, &f.dataDir)
	format := addOutput(cmd)
	cmd.PreRunE = followedBy(cmd.PreRunE, func(*cobra.Command, []string) error {
		f.format = *format
		return checkOutput(f.format)
	})
	return f
}

func addDataDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "data-dir", "", "`FOLDER` of installed sets (default: "+systemDataDir+
		" for root, else $XDG_DATA_HOME/kindling or ~/.local/share/kindling)")
}

// followedBy runs one check of a command line behind another.
func followedBy(first, second func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := first(cmd, args); err != nil {
			return err
		}
		return second(cmd, args)
	}
}

// checkOutput refuses an unknown format before anything is done.
func checkOutput(format string) error {
	if format != "table" && format != "json" {
		return usageError{fmt.Errorf("--output is %q, want table or json", format)}
	}
	return nil
}

// dir is the data directory.
func (f *setFlags) dir() (string, error) { return dataDir(f.dataDir, os.Geteuid()) }

// store is the store of the data directory.
func (f *setFlags) store(options system.Options) (*system.Store, error) {
	dir, err := f.dir()
	if err != nil {
		return nil, err
	}
	return system.NewStore(dir, options), nil
}

func dataDir(named string, uid int) (string, error) {
	if named != "" {
		return filepath.Abs(named)
	}
	if uid == 0 {
		return systemDataDir, nil
	}
	// https://specifications.freedesktop.org/basedir has relative paths ignored.
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kindling"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find data directory (KINDLING_DATA_DIR names one): %w", err)
	}
	return filepath.Join(home, ".local", "share", "kindling"), nil
}

// setID is what the ID of an artifact set looks like.
var setID = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func checkSetID(text string) error {
	if !setID.MatchString(text) {
		return usageError{fmt.Errorf("artifact set %.80q: want sha256: and 64 lower-case hexadecimal digits", text)}
	}
	return nil
}

// latestSet stands for the ID of the set that was made the latest.
const latestSet = "latest"

// checkSetName takes what findSet takes.
func checkSetName(name string) error {
	if name == latestSet || setID.MatchString(name) {
		return nil
	}
	return usageError{fmt.Errorf("artifact set %.80q: want latest, or sha256: and 64 lower-case hexadecimal digits", name)}
}

// findSet gives the ID that a user means.
func findSet(ctx context.Context, store *system.Store, name string) (id string, err error) {
	if name == latestSet {
		return store.Latest(ctx)
	}
	return name, nil
}

// checkArch refuses what no artifact set is for.
func checkArch(arch string) error {
	if ociArch[arch] == "" {
		return usageError{fmt.Errorf("--arch is %q, want x86_64 or aarch64", arch)}
	}
	return nil
}

// oneSet takes the command line of a verb of one set.
func oneSet(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("got %q, want ID or latest", args)
	}
	return checkSetName(args[0])
}

// oneLine makes one line of an error that joins several.
func oneLine(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// isUsage tells a command line that makes no sense.
func isUsage(err error) bool {
	_, ok := errors.AsType[usageError](err)
	return ok
}
