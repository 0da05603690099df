package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/system/bundle"
)

// requirements say which configuration a feature needs: its name -> what must be
// set.
type requirements map[string]requirement

type requirement struct {
	// Arches are those that can have the feature; none means all.
	Arches []string `json:"arches"`
	// Symbols are names without CONFIG_. One that ends in =y must be built in;
	// the others may be modules, unless the kernel comes without.
	Symbols []string `json:"symbols"`
}

func readRequirements(name string) (requirements, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read requirements: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var r requirements
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("read requirements %s: %w", name, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("read requirements %s: more than one document", name)
	}
	for feature, requirement := range r {
		if len(requirement.Symbols) == 0 {
			return nil, fmt.Errorf("read requirements %s: feature %s has no symbols", name, feature)
		}
	}
	return r, nil
}

// describe makes kernel.json. A feature whose configuration is missing is an
// error. A kernel whose configuration is not known has no features.
func describe(info *kernelimage.Info, k *kernel, hasModules bool, requirements requirements) ([]byte, error) {
	if info.Release == "" {
		return nil, errors.New("it has no version text")
	}
	description := bundle.KernelDescription{
		Version:      bundle.KernelDescriptionVersion,
		Arch:         info.Arch,
		Release:      info.Release,
		Banner:       info.Banner,
		Format:       string(info.Format),
		PVH:          info.PVH,
		Hypervisors:  []string{},
		Modules:      hasModules,
		ConfigSource: k.configFrom,
		Features:     []string{},
	}
	for _, hypervisor := range info.Hypervisors() {
		description.Hypervisors = append(description.Hypervisors, string(hypervisor))
	}
	if k.config != nil {
		description.ConfigSHA256 = fmt.Sprintf("%x", sha256.Sum256(k.config))
		features, err := checkConfig(k.config, info.Arch, hasModules, requirements)
		if err != nil {
			return nil, err
		}
		description.Features = features
	}
	return description.Marshal()
}

// checkConfig gives the features that a configuration has, sorted, and names
// everything that is missing.
func checkConfig(config []byte, arch string, hasModules bool, requirements requirements) ([]string, error) {
	values := map[string]string{}
	for line := range strings.Lines(string(config)) {
		if symbol, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(symbol, "CONFIG_") {
			values[strings.TrimPrefix(symbol, "CONFIG_")] = value
		}
	}
	var features []string
	var problems []error
	for _, feature := range slices.Sorted(maps.Keys(requirements)) {
		requirement := requirements[feature]
		if len(requirement.Arches) > 0 && !slices.Contains(requirement.Arches, arch) {
			continue
		}
		for _, symbol := range requirement.Symbols {
			name, builtIn := strings.CutSuffix(symbol, "=y")
			got := values[name]
			switch {
			case got == "y" || got == "m" && hasModules && !builtIn:
			case got == "m":
				problems = append(problems, fmt.Errorf("feature %s wants CONFIG_%s built in, it is a module", feature, name))
			default:
				problems = append(problems, fmt.Errorf("feature %s wants CONFIG_%s, which is not set", feature, name))
			}
		}
		features = append(features, feature)
	}
	return features, errors.Join(problems...)
}
