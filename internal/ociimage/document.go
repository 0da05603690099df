package ociimage

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// maxDocument is how many bytes a document may have. Registries take no
	// larger manifest (OCI distribution specification, "Pushing Manifests").
	maxDocument = 4 << 20
	// maxNesting is how deep objects and arrays may stand in each other. The
	// deepest that the specification has is 5.
	maxNesting = 32
)

// readDocument returns the content of desc, which has its digest and size.
func readDocument(desc v1.Descriptor, source Source) ([]byte, error) {
	if err := checkAlgorithm(desc.Digest); err != nil {
		return nil, err
	}
	if desc.Size < 0 || desc.Size > maxDocument {
		return nil, fmt.Errorf("size %d is not one of a document, at most %d", desc.Size, maxDocument)
	}
	r, err := source(desc)
	if err != nil {
		return nil, err
	}
	data, err := readAll(r, desc.Size)
	if err != nil {
		return nil, err
	}
	if digest := digestOf(data); digest != desc.Digest || int64(len(data)) != desc.Size {
		return nil, fmt.Errorf("got digest %s and size %d, want %s and %d", digest, len(data), desc.Digest, desc.Size)
	}
	return data, nil
}

func digestOf(data []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// readAll reads and closes r, which may have at most size bytes.
func readAll(r io.ReadCloser, size int64) (data []byte, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err = io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(data)) > size {
		err = fmt.Errorf("got more than %d bytes", size)
	}
	return data, err
}

// parseIndex reads an index of a media type. A document that can be read as an index and as a manifest has one
// digest for two images (CVE-2021-41190).
func parseIndex(raw []byte, mediaType types.MediaType) (*v1.IndexManifest, error) {
	var index struct {
		v1.IndexManifest
		Config, Layers, FSLayers json.RawMessage
	}
	if err := decode(raw, &index); err != nil {
		return nil, err
	}
	if err := checkHeader(index.SchemaVersion, index.MediaType, mediaType); err != nil {
		return nil, err
	}
	if index.Config != nil || index.Layers != nil || index.FSLayers != nil {
		return nil, errors.New("index has a configuration or layers, as a manifest does")
	}
	return &index.IndexManifest, nil
}

func parseManifest(raw []byte, mediaType types.MediaType) (*v1.Manifest, error) {
	var manifest struct {
		v1.Manifest
		Manifests, FSLayers json.RawMessage
	}
	if err := decode(raw, &manifest); err != nil {
		return nil, err
	}
	if err := checkHeader(manifest.SchemaVersion, manifest.MediaType, mediaType); err != nil {
		return nil, err
	}
	if manifest.Manifests != nil || manifest.FSLayers != nil {
		return nil, errors.New("manifest has manifests, as an index does, or layers of schema version 1")
	}
	return &manifest.Manifest, nil
}

// checkHeader compares what a document says of itself. Its media type may be
// missing.
func checkHeader(version int64, got, want types.MediaType) error {
	if version != 2 {
		return fmt.Errorf("schema version is %d, want 2", version)
	}
	if got != "" && got != want {
		return fmt.Errorf("media type is %q, want %q", got, want)
	}
	return nil
}

func parseConfig(raw []byte) (*v1.ConfigFile, error) {
	config := &v1.ConfigFile{}
	if err := decode(raw, config); err != nil {
		return nil, err
	}
	return config, nil
}

// decode reads JSON that is one value, not nested deeply, and without a key that
// stands in an object twice. Fields that into does not have are ignored, as the
// specification demands.
func decode(raw []byte, into any) error {
	tokens := json.NewDecoder(bytes.NewReader(raw))
	err := checkValue(tokens, 0, false)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("parse JSON: %w", err)
	}
	if _, err := tokens.Token(); err != io.EOF {
		return errors.New("parse JSON: data behind the value")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("parse JSON: %w", err)
	}
	return nil
}

// dataKeys name the objects whose keys are data. All other keys are names of
// fields.
var dataKeys = map[string]bool{"annotations": true, "Labels": true, "ExposedPorts": true, "Volumes": true}

func checkValue(tokens *json.Decoder, depth int, isData bool) error {
	token, err := tokens.Token()
	if err != nil {
		return err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth++; depth > maxNesting {
		return fmt.Errorf("nested in more than %d levels", maxNesting)
	}
	keys := map[string]bool{}
	for tokens.More() {
		belowIsData := false
		if open == '{' {
			token, err := tokens.Token()
			if err != nil {
				return err
			}
			name, ok := token.(string)
			if !ok {
				return fmt.Errorf("key is %v, want a string", token)
			}
			belowIsData = dataKeys[name]
			// encoding/json takes a field by any case of its name.
			key := name
			if !isData {
				key = strings.ToLower(strings.ToUpper(name))
			}
			if keys[key] {
				return fmt.Errorf("key %.200q stands there twice", name)
			}
			keys[key] = true
		}
		if err := checkValue(tokens, depth, belowIsData); err != nil {
			return err
		}
	}
	_, err = tokens.Token()
	return err
}
