package rootfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kindling-vm/kindling/internal/ociimage"
)

// maxConfig is how many bytes of a configuration are read; internal/ociimage
// takes no larger document.
const maxConfig = 4 << 20

func loadRemote(ctx context.Context, ref string, platform v1.Platform, o Options) (v1.Image, error) {
	reference, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("no such file, and %w", err)
	}
	r := &repositories{ctx: ctx, documents: o.Documents, failed: map[name.Repository]bool{}, read: map[v1.Hash][]byte{}}
	for _, mirror := range o.Mirrors {
		repo, err := mirrored(mirror, reference.Context())
		if err != nil {
			return nil, err
		}
		r.all = append(r.all, repo)
	}
	r.all = append(r.all, reference.Context())
	if r.puller, err = remote.NewPuller(remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return nil, err
	}
	root, err := r.root(reference)
	if err != nil {
		return nil, err
	}
	return ociimage.Resolve(root, platform, v1.Hash{}, r.open)
}

// mirrored is the repository on a mirror.
func mirrored(mirror string, repo name.Repository) (name.Repository, error) {
	mirror = strings.TrimSuffix(mirror, "/")
	host, _, _ := strings.Cut(mirror, "/")
	if strings.Contains(mirror, "://") || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return name.Repository{}, fmt.Errorf("mirror %q, want HOST or HOST/PREFIX", mirror)
	}
	found, err := name.NewRepository(path.Join(mirror, repo.RepositoryStr()))
	if err != nil {
		return name.Repository{}, fmt.Errorf("mirror %q: %w", mirror, err)
	}
	return found, nil
}

// repositories are where an image can be, in the order in which they are asked.
// One goroutine at a time uses it.
type repositories struct {
	ctx       context.Context
	puller    *remote.Puller
	all       []name.Repository
	failed    map[name.Repository]bool // mirrors that are left alone
	read      map[v1.Hash][]byte       // documents of this image
	documents Documents                // nil keeps nothing
}

// try asks one repository after the other. A mirror that fails is left alone from
// then on, but it need not have everything.
func (r *repositories) try(ask func(name.Repository) error) error {
	var failures []error
	for i, repo := range r.all {
		isMirror := i < len(r.all)-1
		if r.failed[repo] {
			continue
		}
		err := ask(repo)
		if err == nil {
			return nil
		}
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		if isMirror {
			r.failed[repo] = !isNotFound(err)
			err = fmt.Errorf("mirror %s: %w", repo, err)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

func isNotFound(err error) bool {
	answer, ok := errors.AsType[*transport.Error](err)
	return ok && answer.StatusCode == http.StatusNotFound
}

// root describes what the reference names. What a digest names is not asked for
// again where it is kept; what a tag names is asked for each time.
func (r *repositories) root(reference name.Reference) (root v1.Descriptor, err error) {
	if pinned, ok := reference.(name.Digest); ok {
		if root.Digest, err = v1.NewHash(pinned.DigestStr()); err != nil {
			return root, err
		}
		if data := r.kept(root.Digest); data != nil {
			root.Size, root.MediaType = int64(len(data)), mediaTypeOf(data)
			return root, nil
		}
	}
	var got *remote.Descriptor
	if err := r.try(func(repo name.Repository) (err error) {
		got, err = r.puller.Get(r.ctx, inRepository(reference, repo))
		return err
	}); err != nil {
		return root, err
	}
	if root.Digest == (v1.Hash{}) {
		root.Digest = got.Digest
	}
	root.MediaType, root.Size = got.MediaType, got.Size
	return root, r.keep(root.Digest, got.Manifest)
}

func inRepository(reference name.Reference, repo name.Repository) name.Reference {
	if tag, ok := reference.(name.Tag); ok {
		return repo.Tag(tag.TagStr())
	}
	return repo.Digest(reference.Identifier())
}

// mediaTypeOf is that of an index or a manifest, which need not say it: an index
// has manifests. Whether it is one of the two is checked by who reads it.
func mediaTypeOf(data []byte) types.MediaType {
	var header struct {
		MediaType types.MediaType `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	_ = json.Unmarshal(data, &header)
	switch {
	case header.MediaType != "":
		return header.MediaType
	case header.Manifests != nil:
		return types.OCIImageIndex
	}
	return types.OCIManifestSchema1
}

// open is the image's ociimage.Source.
func (r *repositories) open(desc v1.Descriptor) (io.ReadCloser, error) {
	isManifest := desc.MediaType.IsIndex() || desc.MediaType.IsImage()
	if !isManifest && !desc.MediaType.IsConfig() {
		return r.openLayer(desc.Digest)
	}
	if data := r.kept(desc.Digest); data != nil {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	var data []byte
	if err := r.try(func(repo name.Repository) (err error) {
		data, err = r.document(repo, desc.Digest, isManifest)
		return err
	}); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), r.keep(desc.Digest, data)
}

func (r *repositories) openBlob(repo name.Repository, digest v1.Hash) (io.ReadCloser, error) {
	layer, err := r.puller.Layer(r.ctx, repo.Digest(digest.String()))
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

func (r *repositories) document(repo name.Repository, digest v1.Hash, isManifest bool) (data []byte, err error) {
	if isManifest {
		got, err := r.puller.Get(r.ctx, repo.Digest(digest.String()))
		if err != nil {
			return nil, err
		}
		return got.Manifest, nil
	}
	blob, err := r.openBlob(repo, digest)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	return io.ReadAll(io.LimitReader(blob, maxConfig+1))
}

// kept gives what is kept of a digest if it has that digest, and nil otherwise.
func (r *repositories) kept(digest v1.Hash) []byte {
	if data := r.read[digest]; data != nil || r.documents == nil {
		return data
	}
	data, err := r.documents.Get(digest)
	if err != nil || !has(digest, data) {
		// A registry has it as well.
		return nil
	}
	return data
}

// keep keeps what has its digest. What has not is an error for who reads it.
func (r *repositories) keep(digest v1.Hash, data []byte) error {
	if !has(digest, data) {
		return nil
	}
	r.read[digest] = data
	if r.documents == nil {
		return nil
	}
	if err := r.documents.Put(digest, data); err != nil {
		return fmt.Errorf("keep document %s: %w", digest, err)
	}
	return nil
}

func has(digest v1.Hash, data []byte) bool {
	sum := sha256.Sum256(data)
	return digest.Algorithm == "sha256" && digest.Hex == hex.EncodeToString(sum[:])
}
