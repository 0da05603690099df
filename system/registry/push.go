package registry

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

// Push verifies the set in a folder and puts it into a registry, the tag last, so
// that it never names half a set. The bytes there depend on the set alone. SBOM,
// provenance and signatures are attached as referrers: the signature that the
// folder may have, and one by the signers if there are any. The reference is
// REPOSITORY[:TAG]; the set also gets a tag by its ID.
func (c *Client) Push(ctx context.Context, dir, ref string, signers ...crypto.Signer) (*Artifact, error) {
	artifact, err := c.push(ctx, dir, ref, signers)
	if err != nil {
		return nil, fmt.Errorf("push %s to %q: %w", dir, ref, err)
	}
	return artifact, nil
}

func (c *Client) push(ctx context.Context, dir, text string, signers []crypto.Signer) (*Artifact, error) {
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	if ref.digest != "" {
		return nil, errors.New("reference has a digest, which only the registry's content can have")
	}
	// Bazel's folders are of links to elsewhere, which os.Root would not follow.
	u := &upload{client: c, repo: ref.repo, fsys: os.DirFS(dir), dir: dir}
	u.pusher, err = remote.NewPusher(remote.WithAuthFromKeychain(c.keychain()), remote.WithTransport(c.transport()))
	if err != nil {
		return nil, err
	}
	if err := u.read(); err != nil {
		return nil, err
	}
	if len(signers) > 0 {
		signed, err := signature.Sign(u.manifest, signers...)
		if err != nil {
			return nil, err
		}
		u.signatures = append(u.signatures, signed)
	}
	index, err := u.putSet(ctx)
	if err != nil {
		return nil, err
	}
	tags := []string{setTag(u.setID)}
	if ref.tag != "" {
		tags = append(tags, ref.tag)
	}
	for _, tag := range tags {
		if err := u.pusher.Put(ctx, ref.repo.Tag(tag), index); err != nil {
			return nil, fmt.Errorf("put tag %s: %w", tag, pushError(err))
		}
	}
	return &Artifact{Reference: ref.repo.Digest(index.descriptor.Digest.String()).Name(), SetID: u.setID}, nil
}

// upload is a set on its way to a registry.
type upload struct {
	client *Client
	repo   name.Repository
	pusher *remote.Pusher
	fsys   fs.FS
	dir    string
	report sync.Mutex // of Progress

	manifest   *bundle.Manifest
	canonical  []byte
	setID      string
	signatures [][]byte
}

// read reads and verifies the folder.
func (u *upload) read() error {
	raw, err := fs.ReadFile(u.fsys, manifestName)
	if err != nil {
		return err
	}
	if u.manifest, err = bundle.Parse(raw); err != nil {
		return err
	}
	if u.canonical, err = u.manifest.MarshalCanonical(); err != nil {
		return err
	}
	if string(u.canonical) != string(raw) {
		return fmt.Errorf("%s is not in canonical form", manifestName)
	}
	u.setID = hashOf(u.canonical).String()
	for _, arch := range u.manifest.Architectures {
		if err := checkNames(arch.Files); err != nil {
			return err
		}
		if err := arch.Verify(u.fsys); err != nil {
			return err
		}
	}
	signed, err := signature.Read(u.fsys)
	if errors.Is(err, signature.ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	u.signatures = append(u.signatures, signed)
	return signature.Check(u.manifest, signed)
}

// putSet puts all but the tags.
func (u *upload) putSet(ctx context.Context) (document, error) {
	if err := u.putBlob(ctx, manifestName, u.canonical, ManifestType); err != nil {
		return document{}, err
	}
	if err := u.putBlob(ctx, "empty config", []byte(emptyConfig), emptyType); err != nil {
		return document{}, err
	}
	config := v1.Descriptor{MediaType: ManifestType, Size: int64(len(u.canonical)), Digest: hashOf(u.canonical)}
	var manifests []document
	for _, arch := range u.manifest.Architectures {
		manifest, err := u.putArchitecture(ctx, arch, config)
		if err != nil {
			return document{}, err
		}
		manifests = append(manifests, manifest)
	}
	index, err := newIndex(u.setID, manifests)
	if err != nil {
		return document{}, err
	}
	if err := u.put(ctx, "index", index); err != nil {
		return document{}, err
	}
	for _, signed := range u.signatures {
		if err := u.putBlob(ctx, signature.FileName, signed, signature.MediaType); err != nil {
			return document{}, err
		}
		err := u.attach(ctx, signature.MediaType, signature.FileName, hashOf(signed), int64(len(signed)), index)
		if err != nil {
			return document{}, err
		}
	}
	return index, nil
}

func (u *upload) putArchitecture(ctx context.Context, arch bundle.Architecture, config v1.Descriptor) (document, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelTransfers)
	for _, file := range arch.Files {
		group.Go(func() error {
			if err := u.pusher.Upload(groupCtx, u.repo, &fileLayer{upload: u, file: file}); err != nil {
				return fmt.Errorf("upload %s (sha256:%s): %w", file.Name, file.SHA256, pushError(err))
			}
			u.tell(file, file.Size)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return document{}, err
	}
	manifest, err := newManifest(arch, config)
	if err != nil {
		return document{}, err
	}
	if err := u.put(ctx, "manifest of "+arch.Arch, manifest); err != nil {
		return document{}, err
	}
	for _, attached := range []struct {
		kind         bundle.Kind
		artifactType string
	}{{bundle.SBOM, sbomType}, {bundle.Provenance, provenanceType}} {
		file, ok := arch.File(attached.kind)
		if !ok {
			continue
		}
		digest := v1.Hash{Algorithm: "sha256", Hex: file.SHA256}
		if err := u.attach(ctx, attached.artifactType, file.Name, digest, file.Size, manifest); err != nil {
			return document{}, err
		}
	}
	return manifest, nil
}

func (u *upload) attach(ctx context.Context, artifactType, title string, digest v1.Hash, size int64, subject document) error {
	referrer, err := newReferrer(artifactType, title, digest, size, subject.descriptor)
	if err != nil {
		return err
	}
	return u.put(ctx, "referrer for "+title, referrer)
}

func (u *upload) put(ctx context.Context, what string, doc document) error {
	digest := doc.descriptor.Digest.String()
	if err := u.pusher.Put(ctx, u.repo.Digest(digest), doc); err != nil {
		return fmt.Errorf("put %s (%s): %w", what, digest, pushError(err))
	}
	return nil
}

func (u *upload) putBlob(ctx context.Context, what string, data []byte, kind types.MediaType) error {
	if err := u.pusher.Upload(ctx, u.repo, static.NewLayer(data, kind)); err != nil {
		return fmt.Errorf("upload %s (%s): %w", what, hashOf(data), pushError(err))
	}
	return nil
}

func (u *upload) tell(file bundle.File, done int64) {
	u.client.tell(&u.report, Progress{File: file.Name, Done: done, Total: file.Size})
}

// pushError makes one line of what a registry says to a push.
func pushError(err error) error {
	status, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return err
	}
	return requestError(status)
}

// fileLayer is a file of the set as a remote.Pusher sees it. The registry checks
// its digest.
type fileLayer struct {
	upload *upload
	file   bundle.File
}

func (l *fileLayer) Digest() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: l.file.SHA256}, nil
}

// DiffID is the same, since what is in a file is nothing to a registry.
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.Digest() }
func (l *fileLayer) Size() (int64, error)                 { return l.file.Size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return layerType(l.file.Kind), nil }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }

func (l *fileLayer) Compressed() (io.ReadCloser, error) {
	file, err := os.Open(filepath.Join(l.upload.dir, filepath.FromSlash(l.file.Name)))
	if err != nil {
		return nil, err
	}
	return &countedFile{file: file, layer: l}, nil
}

// countedFile reports how much of it has been read.
type countedFile struct {
	file  *os.File
	layer *fileLayer
	done  int64
}

func (f *countedFile) Close() error { return f.file.Close() }

func (f *countedFile) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	f.done += int64(n)
	f.layer.upload.tell(f.layer.file, f.done)
	return n, err
}
