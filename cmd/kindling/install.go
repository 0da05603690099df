package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
)

// installer is the command install.
type installer struct {
	*setFlags
	*wantFlags
	*transfers
	from     string // --source
	noLatest bool
}

func installCommand() *cobra.Command {
	i := &installer{}
	cmd := &cobra.Command{
		Use:   "install [flags] [SOURCE|ID]",
		Short: "Install an artifact set",
		Long: `Install the kernel and initrd of an artifact set, verify every byte, make the set
the latest one and print its ID. What is there already is kept: a second time
nothing is done. If it fails, or the machine stops, the set is as absent or
complete as before.

` + sourceHelp + `

With --key the set must have a signature by one of the keys, also where it is
installed already. Over plain http a set must be named with --set.

With -o json, an object: id, arches, alreadyPresent, fetched (paths of files that
were missing or corrupt), bytes (of these), latest. Later versions may add keys,
but take away and change none. Exit codes: kindling help exit-codes.`,
		Example: `  kindling install ./bundle
  kindling install --key keys.pem oci://registry.example/kindling/set:1.2
  kindling install --arch x86_64,aarch64 set.tar`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: setVerb(func(cmd *cobra.Command, args []string) error {
			from, err := i.source(args)
			if err != nil {
				return err
			}
			if err := errors.Join(i.wantFlags.check(), i.start(cmd.ErrOrStderr())); err != nil {
				return err
			}
			done, err := i.install(cmd.Context(), from)
			if err != nil {
				return err
			}
			return printReport(cmd.OutOrStdout(), i.format, done, func(w io.Writer) { fmt.Fprintln(w, done.ID) })
		}),
	}
	cmd.Flags().StringVar(&i.from, "source", "", "the `SOURCE` where an ID is named")
	cmd.Flags().BoolVar(&i.noLatest, "no-latest", false, "leave the latest set what it is")
	i.wantFlags = addWantFlags(cmd, "this machine's")
	i.transfers = addProgress(cmd)
	i.setFlags = addSetFlags(cmd)
	return cmd
}

// source gives the source of a command line, where an ID may stand in its place.
func (i *installer) source(args []string) (string, error) {
	from := i.from
	if len(args) > 0 && setID.MatchString(args[0]) {
		if i.set != "" && i.set != args[0] {
			return "", usageError{fmt.Errorf("--set is %s, and %s is to be installed", i.set, args[0])}
		}
		i.set = args[0]
	} else if len(args) > 0 {
		from = args[0]
	}
	if from == "" {
		return "", usageError{errors.New("got no SOURCE; --source and KINDLING_SOURCE name one as well")}
	}
	return from, nil
}

// installation is what install says that it did.
type installation struct {
	ID             string   `json:"id"`
	Arches         []string `json:"arches"`
	AlreadyPresent bool     `json:"alreadyPresent"`
	Fetched        []string `json:"fetched"`
	Bytes          int64    `json:"bytes"`
	Latest         bool     `json:"latest"`
}

func (i *installer) install(ctx context.Context, from string) (*installation, error) {
	if len(i.arches) == 0 {
		i.arches = []string{system.GetArch()}
	}
	source, err := i.openSource(from)
	if err != nil {
		return nil, err
	}
	store, err := i.store(system.Options{Sources: []system.Source{source}, Progress: func(p system.Progress) {
		i.report(p.File.Name, p.Done, p.File.Size)
	}})
	if err != nil {
		return nil, err
	}
	id := i.set
	if len(i.keys) > 0 {
		// Nobody asks the source about a set that is installed already.
		if id, err = offered(ctx, source, id); err != nil {
			return nil, fmt.Errorf("install artifact set: %w", err)
		}
	}
	got, err := store.Install(ctx, id, i.arches...)
	if err != nil {
		return nil, err
	}
	done := &installation{
		ID: got.ID, Arches: i.arches, AlreadyPresent: len(got.Fetched) == 0,
		Fetched: append([]string{}, got.Fetched...), Bytes: got.Bytes,
	}
	latest, err := store.Latest(ctx)
	if done.Latest = err == nil && latest == got.ID; !done.Latest && !i.noLatest {
		if err := store.SetLatest(ctx, got.ID); err != nil {
			return nil, err
		}
		done.Latest = true
	}
	if done.AlreadyPresent {
		i.end("artifact set is already present")
	} else {
		i.end("artifact set installed, %d files, %d bytes", len(got.Fetched), got.Bytes)
	}
	return done, nil
}

// offered gives the ID of the set that a source has.
func offered(ctx context.Context, source system.Source, want string) (id string, err error) {
	defer func() {
		if err != nil {
			err = &system.SourceError{Source: source.String(), File: "manifest.json", Err: err}
		}
	}()
	data, err := source.Manifest(ctx, want)
	if err != nil {
		return "", err
	}
	m, err := bundle.Parse(data)
	if err != nil {
		return "", err
	}
	id, err = m.ID()
	if err == nil && want != "" && id != want {
		err = fmt.Errorf("it has artifact set %s, want %s", id, want)
	}
	return id, err
}
