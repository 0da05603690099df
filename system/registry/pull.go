package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

// parallelTransfers is how many files come or go at the same time.
const parallelTransfers = 4

var (
	// ErrUnpinned says that nothing but a tag, which anybody may move, says what
	// to pull.
	ErrUnpinned = errors.New("neither digest nor set ID nor signature says which bytes are wanted")
	// ErrOtherSet says that the reference leads to another set than the wanted one.
	ErrOtherSet = errors.New("reference is another artifact set")
)

// Want says what a reference must lead to. One of the reference's digest, SetID
// and Policy is needed; all that are there must hold.
type Want struct {
	SetID string // sha256:HEX
	// Policy says whose signature the set must have, and At for which time; zero
	// is now. The signature goes into the folder with the set.
	Policy *signature.Policy
	At     time.Time
	// Arches are those whose files are pulled, all of the set if there are none.
	Arches []string // x86_64, aarch64
}

// puller is a client at work on one reference.
type puller struct {
	*Client
	ref     *reference
	sources []*source
	clock   clock
	report  sync.Mutex // of Progress
}

// found is a set that has been looked up, none of whose files have come.
type found struct {
	Artifact
	manifest  *bundle.Manifest
	canonical []byte // manifest.json
	index     v1.Descriptor
	arches    map[string]v1.Descriptor
}

// Resolve finds what a reference, REPOSITORY[:TAG][@sha256:HEX], is at the moment.
// Its answer names exact bytes.
func (c *Client) Resolve(ctx context.Context, ref string) (*Artifact, error) {
	p, err := c.newPuller(ref, "", nil)
	if err != nil {
		return nil, fmt.Errorf("resolve %q: %w", ref, err)
	}
	set, err := p.find(ctx)
	if err != nil {
		return nil, fmt.Errorf("resolve %q: %w", ref, err)
	}
	return &set.Artifact, nil
}

// Pull brings a set into a folder, which is made if there is none: its files, then
// manifest.json, so that a folder with that file is complete for the wanted
// architectures. What is there already is verified and kept, and what an earlier
// pull left goes on where it ended. A folder with another set is an error, as is
// one that another pull works in (ErrBusy).
//
// The error of what the registry does not have is a fs.ErrNotExist.
//
// With Want.SetID, the reference may be a REPOSITORY alone: Push leaves a tag for
// the ID.
func (c *Client) Pull(ctx context.Context, ref, dir string, want Want) (artifact *Artifact, err error) {
	set, err := c.pull(ctx, ref, dir, want)
	if err != nil {
		return nil, fmt.Errorf("pull %q: %w", ref, err)
	}
	return &set.Artifact, nil
}

func (c *Client) pull(ctx context.Context, ref, dir string, want Want) (set *found, err error) {
	p, err := c.newPuller(ref, want.SetID, nil)
	if err != nil {
		return nil, err
	}
	set, signed, err := p.findWanted(ctx, want)
	if err != nil {
		return nil, err
	}
	files, err := p.findFiles(ctx, set, want.Arches)
	if err != nil {
		return nil, err
	}
	out, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	if err := out.checkManifest(set.canonical); err != nil {
		return nil, err
	}
	if err := p.getFiles(ctx, out, files); err != nil {
		return nil, err
	}
	if signed != nil {
		if err := out.write(signature.FileName, signed); err != nil {
			return nil, err
		}
	}
	if err := out.write(manifestName, set.canonical); err != nil {
		return nil, err
	}
	return set, out.finish()
}

// newPuller makes a puller from some sources, or from new ones if there are none.
func (c *Client) newPuller(text, setID string, sources []*source) (*puller, error) {
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	if setID != "" && !isDigest(setID) {
		return nil, fmt.Errorf("set ID %q, want sha256: and 64 lower-case hexadecimal digits", setID)
	}
	if ref.identifier() == "" {
		if setID == "" {
			return nil, errors.New("reference has neither tag nor digest")
		}
		ref.tag = setTag(setID)
	}
	if sources == nil {
		if sources, err = c.sources(ref.repo); err != nil {
			return nil, err
		}
	}
	return &puller{Client: c, ref: ref, sources: sources, clock: c.systemClock()}, nil
}

// sources are the mirrors and the repository itself.
func (c *Client) sources(repo name.Repository) ([]*source, error) {
	var sources []*source
	for _, mirror := range c.Mirrors {
		found, err := mirrored(mirror, repo)
		if err != nil {
			return nil, err
		}
		sources = append(sources, &source{client: c, repo: found})
	}
	return append(sources, &source{client: c, repo: repo}), nil
}

// findWanted finds the set and checks that it is the wanted one. With a policy,
// it gives the signature as well.
func (p *puller) findWanted(ctx context.Context, want Want) (set *found, signed []byte, err error) {
	if p.ref.digest == "" && want.SetID == "" && want.Policy == nil {
		return nil, nil, ErrUnpinned
	}
	if set, err = p.find(ctx); err != nil {
		return nil, nil, err
	}
	if want.SetID != "" && set.SetID != want.SetID {
		return nil, nil, fmt.Errorf("%w: %s is %s, want %s", ErrOtherSet, set.Reference, set.SetID, want.SetID)
	}
	if want.Policy == nil {
		return set, nil, nil
	}
	if want.At.IsZero() {
		want.At = p.clock.Now()
	}
	signed, err = p.findSignature(ctx, set, want)
	return set, signed, err
}

// find gets what says what the set is: the index, a manifest and its config.
func (p *puller) find(ctx context.Context) (*found, error) {
	raw, err := p.document(ctx, "index", "manifests/"+p.ref.identifier(), types.OCIImageIndex, p.ref.digest)
	if err != nil {
		return nil, err
	}
	set := &found{index: v1.Descriptor{MediaType: types.OCIImageIndex, Size: int64(len(raw)), Digest: hashOf(raw)}}
	set.Reference = p.ref.repo.Digest(set.index.Digest.String()).Name()
	if set.arches, err = parseIndex(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", set.index.Digest, err)
	}
	first := slices.Min(slices.Collect(maps.Keys(set.arches)))
	manifest, err := p.archManifest(ctx, set.arches[first])
	if err != nil {
		return nil, err
	}
	set.SetID = manifest.Config.Digest.String()
	if set.canonical, err = p.document(ctx, manifestName, "blobs/"+set.SetID, ManifestType, set.SetID); err != nil {
		return nil, err
	}
	if set.manifest, err = bundle.Parse(set.canonical); err != nil {
		return nil, fmt.Errorf("%s: %w", set.SetID, err)
	}
	// Otherwise the set would have another ID for whom reads it.
	id, err := set.manifest.ID()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", set.SetID, err)
	}
	if id != set.SetID {
		return nil, fmt.Errorf("%s is not in canonical form, which is %s", set.SetID, id)
	}
	for _, arch := range set.manifest.Architectures {
		if err := checkNames(arch.Files); err != nil {
			return nil, fmt.Errorf("%s: %w", set.SetID, err)
		}
	}
	return set, nil
}

// document gets something small, from any source.
func (p *puller) document(ctx context.Context, what, path string, accept types.MediaType, digest string) (data []byte, err error) {
	err = p.fromAny(ctx, func(ctx context.Context, s *source, _ *stallGuard) (int64, error) {
		data, err = s.getDocument(ctx, path, []string{string(accept)}, digest, maxDocument)
		return 0, err
	})
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", what, path, err)
	}
	return data, nil
}

func (p *puller) archManifest(ctx context.Context, descriptor v1.Descriptor) (*v1.Manifest, error) {
	digest := descriptor.Digest.String()
	raw, err := p.document(ctx, "manifest", "manifests/"+digest, types.OCIManifestSchema1, digest)
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) != descriptor.Size {
		return nil, fmt.Errorf("manifest %s has %d bytes, want %d", digest, len(raw), descriptor.Size)
	}
	manifest, err := parseManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("parse manifest %s: %w", digest, err)
	}
	return manifest, nil
}

// findFiles checks that the registry has the set's files as its layers.
func (p *puller) findFiles(ctx context.Context, set *found, arches []string) ([]bundle.File, error) {
	if len(arches) == 0 {
		for _, arch := range set.manifest.Architectures {
			arches = append(arches, arch.Arch)
		}
	}
	var files []bundle.File
	for i, name := range arches {
		if slices.Contains(arches[:i], name) {
			return nil, fmt.Errorf("architecture %s is wanted twice", name)
		}
		arch, ok := set.manifest.Architecture(name)
		descriptor, there := set.arches[name]
		if !ok || !there {
			return nil, fmt.Errorf("%w: %s has nothing for %q, but for %q", bundle.ErrUnsupportedArch, set.Reference, name, slices.Sorted(maps.Keys(set.arches)))
		}
		manifest, err := p.archManifest(ctx, descriptor)
		if err != nil {
			return nil, err
		}
		if got := manifest.Config.Digest.String(); got != set.SetID {
			return nil, fmt.Errorf("manifest %s is of set %s, want %s", descriptor.Digest, got, set.SetID)
		}
		if err := checkLayers(manifest.Layers, arch.Files); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", descriptor.Digest, err)
		}
		files = append(files, arch.Files...)
	}
	return files, nil
}

func (p *puller) getFiles(ctx context.Context, out *folder, files []bundle.File) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelTransfers)
	for _, file := range files {
		group.Go(func() error {
			if err := p.getFile(ctx, out, file); err != nil {
				return fmt.Errorf("get %s (sha256:%s): %w", file.Name, file.SHA256, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (p *puller) getFile(ctx context.Context, out *folder, file bundle.File) (err error) {
	progress := func(done int64) { p.tell(&p.report, Progress{File: file.Name, Done: done, Total: file.Size}) }
	present, err := out.has(file)
	if err != nil {
		return err
	}
	if present {
		progress(file.Size)
		return nil
	}
	part, err := out.openPart(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, part.Close()) }()
	if err := p.fill(ctx, part, file, progress); err != nil {
		return err
	}
	return out.place(part, file)
}

func (p *puller) fill(ctx context.Context, part *os.File, file bundle.File, progress func(done int64)) error {
	d, err := newFileDownload(file, part, progress)
	if err != nil {
		return err
	}
	progress(d.have)
	return p.fromAny(ctx, d.attempt)
}

// tell reports progress, one after the other.
func (c *Client) tell(mu *sync.Mutex, progress Progress) {
	if c.Progress == nil {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	c.Progress(progress)
}
