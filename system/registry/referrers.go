package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kindling-vm/kindling/system/signature"
)

// findSignature finds a signature of the set that the policy takes. Mirrors often
// do not have it, nor do they need to.
func (p *puller) findSignature(ctx context.Context, set *found, want Want) ([]byte, error) {
	var failures []error
	for i, s := range p.sources {
		most := attempts
		if i < len(p.sources)-1 {
			most = 1
			if s.isBroken() {
				continue
			}
		}
		var data []byte
		err := p.fromOne(ctx, s, most, func(ctx context.Context, s *source, _ *stallGuard) (have int64, err error) {
			data, err = s.findSignature(ctx, set, want)
			return 0, err
		})
		if err == nil {
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		failures = append(failures, fmt.Errorf("%s: %w", s.repo, err))
	}
	return nil, fmt.Errorf("find signature of %s, set %s: %w", set.index.Digest, set.SetID, errors.Join(failures...))
}

func (s *source) findSignature(ctx context.Context, set *found, want Want) ([]byte, error) {
	candidates, err := s.referrers(ctx, set.index.Digest, signature.MediaType)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, candidate := range candidates {
		data, err := s.attachment(ctx, candidate, set.index.Digest, signature.MediaType, signature.MaxSize)
		if err == nil && data == nil {
			continue
		}
		if err == nil {
			if err = want.Policy.Verify(set.manifest, data, want.At); err == nil {
				return data, nil
			}
			err = permanentError{err}
		}
		err = fmt.Errorf("%s: %w", candidate.Digest, err)
		if _, ok := errors.AsType[permanentError](err); !ok {
			return nil, err
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return nil, permanentError{signature.ErrMissing}
	}
	return nil, errors.Join(failures...)
}

// referrers lists what may be attached to a digest with an artifact type: some
// registries give another type than that of the manifest, which has the say.
func (s *source) referrers(ctx context.Context, subject v1.Hash, artifactType string) ([]v1.Descriptor, error) {
	index, err := s.referrersIndex(ctx, subject, artifactType)
	if err != nil {
		return nil, fmt.Errorf("list referrers: %w", err)
	}
	var candidates []v1.Descriptor
	for _, descriptor := range index.Manifests {
		switch descriptor.ArtifactType {
		case artifactType, emptyType, "":
			candidates = append(candidates, descriptor)
		}
	}
	if len(candidates) > maxReferrers {
		return nil, permanentError{fmt.Errorf("list referrers: %d, want at most %d", len(candidates), maxReferrers)}
	}
	return candidates, nil
}

// referrersIndex asks as OCI distribution-spec 1.1 says, by the tag of the subject
// where the registry does not know the question.
func (s *source) referrersIndex(ctx context.Context, subject v1.Hash, artifactType string) (index v1.IndexManifest, err error) {
	question := "referrers/" + subject.String() + "?artifactType=" + url.QueryEscape(artifactType)
	response, err := s.get(ctx, question, http.Header{"Accept": {string(types.OCIImageIndex)}})
	if err != nil {
		return index, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	var raw []byte
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch code := response.StatusCode; {
	case code == http.StatusOK && kind == string(types.OCIImageIndex):
		if link := response.Header.Get("Link"); link != "" {
			return index, permanentError{errors.New("they are more than one page")}
		}
		raw, err = io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	case code == http.StatusOK, code == http.StatusNotFound, code == http.StatusBadRequest,
		code == http.StatusNotAcceptable:
		tag := strings.Replace(subject.String(), ":", "-", 1)
		raw, err = s.getDocument(ctx, "manifests/"+tag, []string{string(types.OCIImageIndex)}, "", maxDocument)
		if isStatus(err, http.StatusNotFound) {
			return index, nil
		}
	default:
		err = newStatusError(response)
	}
	if err != nil {
		return index, err
	}
	if len(raw) > maxDocument {
		return index, permanentError{fmt.Errorf("the list has more than %d bytes", maxDocument)}
	}
	if err := parseDocument(raw, &index); err != nil {
		return index, permanentError{fmt.Errorf("parse index: %w", err)}
	}
	return index, nil
}

// attachment gets the one file of a referrer. It is nil if the referrer turns out
// to be of another type.
func (s *source) attachment(
	ctx context.Context, referrer v1.Descriptor, subject v1.Hash, artifactType string, most int64,
) ([]byte, error) {
	if err := checkDescriptor(referrer, types.OCIManifestSchema1, maxDocument); err != nil {
		return nil, permanentError{err}
	}
	digest := referrer.Digest.String()
	raw, err := s.getDocument(ctx, "manifests/"+digest, []string{string(types.OCIManifestSchema1)}, digest, maxDocument)
	if err != nil {
		return nil, err
	}
	var manifest v1.Manifest
	if err := parseDocument(raw, &manifest); err != nil {
		return nil, permanentError{fmt.Errorf("parse manifest: %w", err)}
	}
	if manifest.ArtifactType != artifactType {
		return nil, nil
	}
	if manifest.Subject == nil || manifest.Subject.Digest != subject {
		return nil, permanentError{fmt.Errorf("it is not attached to %s", subject)}
	}
	if len(manifest.Layers) != 1 {
		return nil, permanentError{fmt.Errorf("it has %d layers, want one", len(manifest.Layers))}
	}
	layer := manifest.Layers[0]
	if err := checkDescriptor(layer, types.MediaType(artifactType), most); err != nil {
		return nil, permanentError{err}
	}
	return s.getDocument(ctx, "blobs/"+layer.Digest.String(), []string{"*/*"}, layer.Digest.String(), most)
}
