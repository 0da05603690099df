//go:build vm

package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestBuiltSBOM looks at the SBOM of the set that the build makes.
func TestBuiltSBOM(t *testing.T) {
	name, err := runfiles.Rlocation(os.Getenv("SBOM"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema(t).Validate(document); err != nil {
		t.Error(err)
	}
}
