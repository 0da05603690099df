package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	// buildType says how the parameters are to be read: docs/artifacts.md.
	buildType = "https://github.com/kindling-vm/kindling/artifact-set/v1"
	// builderID is the rules of this repository, not a machine: who runs them
	// and vouches for it signs the statement.
	builderID = "https://github.com/kindling-vm/kindling/bazel/v1"
)

// statement is an in-toto Statement v1 with a predicate of SLSA provenance v1.
//
// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
// https://slsa.dev/spec/v1.0/provenance
type statement struct {
	Type          string       `json:"_type"`
	Subject       []descriptor `json:"subject"`
	PredicateType string       `json:"predicateType"`
	Predicate     provenance   `json:"predicate"`
}

// descriptor is an in-toto ResourceDescriptor.
type descriptor struct {
	Name             string            `json:"name"`
	URI              string            `json:"uri,omitempty"` // a package URL
	Digest           map[string]string `json:"digest,omitempty"`
	DownloadLocation string            `json:"downloadLocation,omitempty"`
	MediaType        string            `json:"mediaType,omitempty"`
	Annotations      map[string]string `json:"annotations,omitempty"`
}

type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   externalParameters `json:"externalParameters"`
	ResolvedDependencies []descriptor       `json:"resolvedDependencies"`
}

type externalParameters struct {
	Arch    string `json:"arch"`
	Profile string `json:"profile,omitempty"` // of the lock
}

type runDetails struct {
	Builder    builder      `json:"builder"`
	Byproducts []descriptor `json:"byproducts"`
}

type builder struct {
	ID string `json:"id"`
}

// marshalStatement gives the statement about the set's files, with the SBOM as a
// byproduct.
func marshalStatement(c *contents, sbomName string, sbom []byte) ([]byte, error) {
	s := statement{
		Type:          "https://in-toto.io/Statement/v1",
		PredicateType: "https://slsa.dev/provenance/v1",
		Predicate: provenance{
			BuildDefinition: buildDefinition{buildType, externalParameters{c.arch, c.profile}, c.dependencies()},
			RunDetails: runDetails{builder{builderID}, []descriptor{
				{Name: sbomName, Digest: digestOf(sbom), MediaType: "application/vnd.cyclonedx+json; version=1.6"},
			}},
		},
	}
	for _, file := range c.files {
		s.Subject = append(s.Subject, descriptor{Name: file.name, Digest: sha256Digest(file.sha256)})
	}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(s); err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	return buf.Bytes(), nil
}

// dependencies gives what was fetched for the set, in order of names.
func (c *contents) dependencies() []descriptor {
	var list []descriptor
	for _, a := range c.artifacts {
		d := descriptor{Name: a.Name, URI: artifactPURL(a), Digest: sha256Digest(a.SHA256)}
		if len(a.URLs) > 0 {
			d.DownloadLocation = a.URLs[0]
		}
		list = append(list, d)
	}
	if c.image != nil {
		list = append(list, descriptor{Name: c.image.repository, URI: c.image.purl(), Digest: sha256Digest(c.image.digest)})
		for i, layer := range c.image.layers {
			name := fmt.Sprintf("%s layer %03d", c.image.repository, i+1)
			list = append(list, descriptor{Name: name, Digest: sha256Digest(layer)})
		}
	}
	// dirHash1 is the module's sum in hexadecimal digits, as in-toto's DigestSet
	// has it; go.sum has it in base64.
	for _, m := range c.modules {
		list = append(list, descriptor{Name: m.path, URI: m.purl(), Digest: map[string]string{"dirHash1": m.digest},
			Annotations: map[string]string{"go.sum": m.sum}})
	}
	stdlibs := map[string]bool{}
	for _, p := range c.programs {
		if !stdlibs[p.goVersion] {
			stdlibs[p.goVersion] = true
			list = append(list, descriptor{Name: "go", URI: p.stdlibPURL()})
		}
	}
	slices.SortFunc(list, func(a, b descriptor) int { return strings.Compare(a.Name+"\x00"+a.URI, b.Name+"\x00"+b.URI) })
	return list
}

func sha256Digest(digest string) map[string]string { return map[string]string{"sha256": digest} }

func digestOf(data []byte) map[string]string {
	sum := sha256.Sum256(data)
	return sha256Digest(hex.EncodeToString(sum[:]))
}
