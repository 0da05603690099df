package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

// ociScheme stands before a reference in a registry, which could be a folder's
// path otherwise.
const ociScheme = "oci://"

// sourceHelp tells what openSource takes.
const sourceHelp = `SOURCE is the folder that bazel build //system:bundle makes, an uncompressed tar
archive of it, https://HOST/FOLDER with its files, or oci://REPOSITORY[:TAG] in a
registry, with @sha256:HEX, --set or --key, as anybody may move a tag.`

// wantFlags say what a source must have.
type wantFlags struct {
	set     string
	arches  []string
	keys    []string // paths
	mirrors []string
}

func addWantFlags(cmd *cobra.Command, arches string) *wantFlags {
	w := &wantFlags{}
	flags := cmd.Flags()
	flags.StringVar(&w.set, "set", "", "take the set with this `ID` and no other")
	flags.StringSliceVar(&w.arches, "arch", nil, "take files for `ARCH`, x86_64 or aarch64; can be repeated (default: "+arches+")")
	flags.StringArrayVar(&w.keys, "key", nil, "require a signature by a public key in `FILE`, PEM; can be repeated")
	flags.StringSliceVar(&w.mirrors, "mirror", nil, "ask the registry `HOST[/PREFIX]` first; can be repeated")
	return w
}

func (w *wantFlags) check() error {
	if w.set != "" {
		if err := checkSetID(w.set); err != nil {
			return err
		}
	}
	for _, arch := range w.arches {
		if err := checkArch(arch); err != nil {
			return err
		}
	}
	return nil
}

// policy is whose signature the set must have; nil is anybody's, or none.
func (w *wantFlags) policy() (*signature.Policy, error) {
	var keys []signature.Key
	for _, path := range w.keys {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		found, err := signature.ParseKeys(data)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", path, err)
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	return signature.RequireSigned(keys...)
}

// openSource opens what a user calls a source.
func (w *wantFlags) openSource(text string) (system.Source, error) {
	policy, err := w.policy()
	if err != nil {
		return nil, err
	}
	source := &checkedSource{policy: policy, arches: w.arches}
	switch reference, isReference := strings.CutPrefix(text, ociScheme); {
	case isReference:
		client := &registry.Client{Mirrors: w.mirrors}
		source.policy = nil // the registry has it elsewhere, and the client asks for it
		source.Source, err = newSource(client, reference, registry.Want{SetID: w.set, Policy: policy})
	case strings.Contains(text, "://"):
		if source.Source, err = system.HTTP(text, system.HTTPOptions{}); err != nil {
			err = usageError{err}
		}
	default:
		info, statErr := os.Stat(text)
		switch {
		case statErr != nil:
			return nil, fmt.Errorf("open source: %w", statErr)
		case info.IsDir():
			source.Source = system.Dir(text)
		default:
			source.Source = system.Tar(text)
		}
	}
	if err != nil {
		return nil, err
	}
	return source, nil
}

// newSource parses a reference and mirrors. No registry is asked yet.
func newSource(client *registry.Client, reference string, want registry.Want) (*registry.Source, error) {
	source, err := client.Source(reference, want)
	if err != nil {
		return nil, usageError{err}
	}
	return source, nil
}

// checkedSource is a source whose set must be what the user asks for.
type checkedSource struct {
	system.Source
	policy *signature.Policy // nil: nobody need have signed it
	arches []string
}

func (s *checkedSource) Manifest(ctx context.Context, id string) ([]byte, error) {
	data, err := s.Source.Manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	m, err := bundle.Parse(data)
	if err != nil {
		return nil, err
	}
	if s.policy != nil {
		signed, err := s.signature(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := s.policy.Verify(m, signed, time.Now()); err != nil {
			return nil, err
		}
	}
	for _, arch := range s.arches {
		if _, ok := m.Architecture(arch); !ok {
			return nil, fmt.Errorf("%w: it has nothing for %s", bundle.ErrUnsupportedArch, arch)
		}
	}
	return data, nil
}

// signature reads the signature beside the manifest, if there is one.
func (s *checkedSource) signature(ctx context.Context, id string) (data []byte, err error) {
	const unknownSize = -1
	file, err := s.Open(ctx, id, bundle.File{Name: signature.FileName, Size: unknownSize})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, signature.MaxSize+1))
	if err == nil && len(data) > signature.MaxSize {
		err = fmt.Errorf("it has more than %d bytes", signature.MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	return data, nil
}
