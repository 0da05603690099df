package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"

	"github.com/kindling-vm/kindling/internal/mtree"
	"github.com/kindling-vm/kindling/system/lock"
)

// setRef is the reference of the set itself.
const setRef = "set"

// bom is the document while it is made.
type bom struct {
	components []cyclonedx.Component
	needs      map[string][]string // reference -> references
}

// marshalSBOM gives the set as a document of CycloneDX 1.6.
//
// Its serial number is that of its content: two documents with one number are
// the same.
func marshalSBOM(c *contents) ([]byte, error) {
	document := newBOM(c)
	data, err := encode(document)
	if err != nil {
		return nil, err
	}
	document.SerialNumber = "urn:uuid:" + hashUUID(data)
	return encode(document)
}

func encode(document *cyclonedx.BOM) ([]byte, error) {
	var buf bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&buf, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	if err := encoder.EncodeVersion(document, cyclonedx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("encode SBOM: %w", err)
	}
	return buf.Bytes(), nil
}

// hashUUID is a UUID of version 8 from the data's SHA-256, as appendix B.2 of
// RFC 9562 makes them.
func hashUUID(data []byte) string {
	sum := sha256.Sum256(data)
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

func newBOM(c *contents) *cyclonedx.BOM {
	b := &bom{needs: map[string][]string{}}
	for i := range c.files {
		b.needs[setRef] = append(b.needs[setRef], c.files[i].ref())
		b.addFile(c, &c.files[i])
	}
	for _, a := range c.artifacts {
		b.addArtifact(a, c.owned[artifactRef(a.Name)])
	}
	if c.image != nil {
		b.addImage(c.image, c.owned[imageRef])
	}
	if entries := c.owned[sourceRef]; entries != nil {
		b.add(cyclonedx.Component{
			BOMRef: sourceRef, Type: cyclonedx.ComponentTypeApplication, Name: c.name, Version: c.version,
			Description: "files of the source tree, as they are",
		}, entries)
	}
	for _, m := range c.modules {
		b.addModule(m)
	}
	for _, p := range c.programs {
		b.addProgram(p, c.version, c.owned[p.ref()])
	}
	about := *properties("arch", c.arch)
	if c.profile != "" {
		about = append(about, *properties("profile", c.profile)...)
	}
	document := cyclonedx.NewBOM()
	document.Metadata = &cyclonedx.Metadata{
		Lifecycles: &[]cyclonedx.Lifecycle{{Phase: cyclonedx.LifecyclePhaseBuild}},
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{
			{Type: cyclonedx.ComponentTypeApplication, Name: "mksbom"},
		}},
		Component: &cyclonedx.Component{
			BOMRef: setRef, Type: cyclonedx.ComponentTypeOS, Name: c.name, Version: c.version, Properties: &about,
		},
	}
	slices.SortFunc(b.components, func(x, y cyclonedx.Component) int { return strings.Compare(x.BOMRef, y.BOMRef) })
	document.Components = &b.components
	document.Dependencies = b.dependencies()
	return document
}

// add takes a component and what it needs, and nests the initrd's entries that
// come from it.
func (b *bom) add(component cyclonedx.Component, entries []mtree.Entry, needs ...string) {
	var nested []cyclonedx.Component
	for _, e := range entries {
		file := cyclonedx.Component{Type: cyclonedx.ComponentTypeFile, Name: "/" + e.Path}
		if e.Type == "link" {
			file.Properties = properties("link", e.Target)
		} else {
			file.Hashes = hashes(e.SHA256)
		}
		nested = append(nested, file)
	}
	if nested != nil {
		component.Components = &nested
	}
	b.components = append(b.components, component)
	b.needs[component.BOMRef] = needs
}

func (b *bom) addFile(c *contents, f *setFile) {
	b.add(cyclonedx.Component{
		BOMRef: f.ref(), Type: cyclonedx.ComponentTypeFile, Name: f.name, Hashes: hashes(f.sha256),
		Properties: properties("kind", string(f.kind)),
	}, nil, c.sources(f)...)
}

func (b *bom) addArtifact(a *lock.Artifact, entries []mtree.Entry) {
	types := map[lock.Kind]cyclonedx.ComponentType{
		lock.Base: cyclonedx.ComponentTypeApplication, lock.Headers: cyclonedx.ComponentTypeLibrary,
		lock.Kernel: cyclonedx.ComponentTypeOS,
	}
	name, sources := a.Name, a.URLs
	if a.Package != "" {
		name, sources = a.Package, []string{a.Path}
	}
	var references []cyclonedx.ExternalReference
	for _, source := range sources {
		reference := cyclonedx.ExternalReference{Type: cyclonedx.ERTypeDistribution, URL: source}
		if a.Package != "" {
			reference.Comment = "below a Debian mirror"
		}
		references = append(references, reference)
	}
	b.add(cyclonedx.Component{
		BOMRef: artifactRef(a.Name), Type: types[a.Kind], Name: name, Version: a.Version, PackageURL: artifactPURL(a),
		Hashes: hashes(a.SHA256), Licenses: &cyclonedx.Licenses{{Expression: a.License}}, ExternalReferences: &references,
		Properties: properties("kind", string(a.Kind), "artifact", a.Name),
	}, entries)
}

// artifactPURL is of type deb, or generic for what comes from a URL.
func artifactPURL(a *lock.Artifact) string {
	if a.Package == "" {
		return packageURL("generic", a.Name, a.Version, "", pair{"arch", a.Arch}, pair{"checksum", "sha256:" + a.SHA256})
	}
	arches := map[string]string{"x86_64": "amd64", "aarch64": "arm64", lock.All: "all"}
	return packageURL("deb", "debian/"+a.Package, a.Version, "", pair{"arch", arches[a.Arch]})
}

func (b *bom) addImage(i *image, entries []mtree.Entry) {
	var layers []string
	for _, layer := range i.layers {
		layers = append(layers, "layer", "sha256:"+layer)
	}
	b.add(cyclonedx.Component{
		BOMRef: imageRef, Type: cyclonedx.ComponentTypeContainer, Name: i.repository, Version: "sha256:" + i.digest,
		PackageURL: i.purl(), Hashes: hashes(i.digest), Properties: properties(layers...),
	}, entries)
}

func (i *image) purl() string {
	name := i.repository[strings.LastIndex(i.repository, "/")+1:]
	return packageURL("oci", name, "sha256:"+i.digest, "", pair{"repository_url", i.repository})
}

func (b *bom) addModule(m module) {
	b.add(cyclonedx.Component{
		BOMRef: m.ref(), Type: cyclonedx.ComponentTypeLibrary, Name: m.path, Version: m.version, PackageURL: m.purl(),
		Properties: properties("go-sum", m.sum),
	}, nil)
}

// addProgram takes a program and the standard library that it is linked with.
func (b *bom) addProgram(p *program, version string, entries []mtree.Entry) {
	needs := []string{p.stdlibRef()}
	for _, m := range p.modules {
		needs = append(needs, m.ref())
	}
	b.add(cyclonedx.Component{
		BOMRef: p.ref(), Type: cyclonedx.ComponentTypeApplication, Name: p.path, Version: version,
		PackageURL: packageURL("golang", p.main, version, strings.TrimPrefix(strings.TrimPrefix(p.path, p.main), "/")),
	}, entries, needs...)
	if _, ok := b.needs[p.stdlibRef()]; !ok {
		b.add(cyclonedx.Component{
			BOMRef: p.stdlibRef(), Type: cyclonedx.ComponentTypeLibrary, Name: "stdlib", Version: p.goVersion,
			PackageURL: p.stdlibPURL(),
		}, nil)
	}
}

func (p *program) stdlibRef() string { return "stdlib:" + p.goVersion }

func (p *program) stdlibPURL() string { return packageURL("golang", "stdlib", p.goVersion, "") }

// dependencies has every component, also those that need nothing: one that is
// left out would count as unknown.
func (b *bom) dependencies() *[]cyclonedx.Dependency {
	list := []cyclonedx.Dependency{}
	for ref, needs := range b.needs {
		dependency := cyclonedx.Dependency{Ref: ref}
		if len(needs) > 0 {
			sorted := slices.Sorted(slices.Values(needs))
			dependency.Dependencies = &sorted
		}
		list = append(list, dependency)
	}
	slices.SortFunc(list, func(x, y cyclonedx.Dependency) int { return strings.Compare(x.Ref, y.Ref) })
	return &list
}

func hashes(digest string) *[]cyclonedx.Hash {
	return &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: digest}}
}

// properties gives names and values, one after the other, in our namespace.
func properties(words ...string) *[]cyclonedx.Property {
	var list []cyclonedx.Property
	for pair := range slices.Chunk(words, 2) {
		list = append(list, cyclonedx.Property{Name: "kindling:" + pair[0], Value: pair[1]})
	}
	return &list
}
