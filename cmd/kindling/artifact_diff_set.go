package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/system/bundle"
)

// kindSBOM is a file of a set that is compared by what it says.
const kindSBOM = artifactKind(bundle.SBOM)

// diffKernels compares what two kernels are and how they were configured.
func (r *diffReport) diffKernels(a, b *artifact) error {
	var properties, config [2]map[string]string
	for i, kernel := range []*artifact{a, b} {
		listing, err := kernel.listKernel()
		if err != nil {
			return kernel.fail(err)
		}
		properties[i], config[i] = describeKernel(listing), listing.config
	}
	r.Properties = append(r.Properties, mapDeltas(properties[0], properties[1])...)
	// Against a kernel that does not say, all of it would be new.
	if len(config[0]) > 0 && len(config[1]) > 0 {
		r.Config = mapDeltas(config[0], config[1])
	}
	return nil
}

func describeKernel(k *kernelListing) map[string]string {
	properties := map[string]string{
		"format": string(k.Format), "compression": k.Compression, "arch": k.Arch, "release": k.Release, "banner": k.Banner,
		"pvh": fmt.Sprint(k.PVH), "hypervisors": k.loadedBy(), "configuration": "not embedded",
	}
	if k.ConfigSymbols > 0 {
		properties["configuration"] = "embedded"
	}
	if k.Payload != nil {
		properties["payload pvh"] = fmt.Sprint(k.Payload.PVH)
	}
	return properties
}

// configSymbols gives the symbols of a configuration; one that is not set is "n".
func configSymbols(config []byte) map[string]string {
	symbols := map[string]string{}
	for line := range strings.Lines(string(config)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutSuffix(strings.TrimPrefix(line, "# "), " is not set"); ok {
			symbols[name] = "n"
		} else if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			symbols[name] = value
		}
	}
	return symbols
}

// diffSets compares two sets by their manifests, and the files that changed by
// their contents.
func (r *diffReport) diffSets(a, b *artifact) error {
	var ids [2]string
	for i, set := range []*artifact{a, b} {
		var err error
		if ids[i], err = set.manifest.ID(); err != nil {
			return set.fail(err)
		}
	}
	r.Same = ids[0] == ids[1]
	r.Properties = deltas([]string{"id", "agentProtocol"},
		[]string{ids[0], a.manifest.AgentProtocol}, []string{ids[1], b.manifest.AgentProtocol})
	commandLines, files := [2]map[string]string{}, [2]map[string]bundle.File{}
	for i, set := range []*artifact{a, b} {
		commandLines[i], files[i] = map[string]string{}, map[string]bundle.File{}
		for _, arch := range set.manifest.Architectures {
			commandLines[i][arch.Arch+" commandLine"] = arch.CommandLine
			for _, file := range arch.Files {
				files[i][arch.Arch+" "+string(file.Kind)] = file
			}
		}
	}
	r.Properties = append(r.Properties, mapDeltas(commandLines[0], commandLines[1])...)
	for _, name := range sortedKeys(files[0], files[1]) {
		before, isOld := files[0][name]
		after, isNew := files[1][name]
		if isOld && isNew && before == after {
			continue
		}
		entry := entryDiff{Name: name, Properties: mapDeltas(describeSetFile(before, isOld), describeSetFile(after, isNew))}
		switch {
		case !isOld:
			entry.Change = changeAdded
		case !isNew:
			entry.Change = changeRemoved
		default:
			entry.Change = changeModified
			var err error
			if entry.Diff, err = diffInside(a, b, before, after); err != nil {
				return err
			}
		}
		r.Entries = append(r.Entries, entry)
	}
	return nil
}

func describeSetFile(file bundle.File, exists bool) map[string]string {
	if !exists {
		return nil
	}
	return map[string]string{"name": file.Name, "size": fmt.Sprint(file.Size), "sha256": file.SHA256}
}

// diffInside compares the contents of two files, if it knows their kind.
func diffInside(a, b *artifact, before, after bundle.File) (report *diffReport, err error) {
	known := []bundle.Kind{bundle.Initrd, bundle.Kernel, bundle.SBOM}
	if before.SHA256 == after.SHA256 || !slices.Contains(known, before.Kind) {
		return nil, nil
	}
	err = a.withFile(before, func(x *artifact) error {
		return b.withFile(after, func(y *artifact) error {
			report, err = x.diff(y)
			return err
		})
	})
	return report, err
}

// diffSBOMs compares the components of two SBOMs in CycloneDX, which name the Go
// modules of programs that do not name them themselves.
func (r *diffReport) diffSBOMs(a, b *artifact) error {
	var components [2]map[string]string
	for i, sbom := range []*artifact{a, b} {
		var err error
		if components[i], err = readComponents(io.NewSectionReader(sbom.file, 0, sbom.size)); err != nil {
			return sbom.fail(err)
		}
	}
	r.Components = mapDeltas(components[0], components[1])
	return nil
}

// readComponents gives the components that have a version. Those that stand more
// than once, as the standard library of two toolchains, have all their versions.
func readComponents(r io.Reader) (map[string]string, error) {
	var document struct {
		BOMFormat  string `json:"bomFormat"`
		Components []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"components"`
	}
	if err := json.NewDecoder(r).Decode(&document); err != nil {
		return nil, fmt.Errorf("parse SBOM: %w", err)
	}
	if document.BOMFormat != "CycloneDX" {
		return nil, fmt.Errorf("parse SBOM: format is %q, want CycloneDX", document.BOMFormat)
	}
	versions := map[string][]string{}
	for _, component := range document.Components {
		if component.Version != "" {
			versions[component.Name] = append(versions[component.Name], component.Version)
		}
	}
	components := map[string]string{}
	for name, list := range versions {
		slices.Sort(list)
		components[name] = strings.Join(slices.Compact(list), ", ")
	}
	return components, nil
}
