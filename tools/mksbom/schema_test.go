package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schema compiles the schema of CycloneDX 1.6 that cyclonedx-go ships. Bazel
// says by the environment where it is.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	var dir string
	if location := os.Getenv("CYCLONEDX_SCHEMA"); location != "" {
		file, err := runfiles.Rlocation(location)
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Dir(file)
	} else {
		module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(strings.TrimSpace(string(module)), "schema")
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{}) // loads nothing
	compiler.AssertFormat()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schemax.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(document.(map[string]any)["$id"].(string), document); err != nil {
			t.Fatal(err)
		}
	}
	compiled, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestSchema(t *testing.T) {
	schema := schema(t)
	for name, args := range map[string]func(*fixture) []string{
		"packages": (*fixture).args, "image": (*fixture).imageArgs, "URL": (*fixture).rootfsArgs,
		"least": func(f *fixture) []string {
			return without(f.args(), "--version", "--profile", "--file=base", "--file=headers")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.make(args(f))
			document, err := jsonschema.UnmarshalJSON(bytes.NewReader(f.read("sbom.json")))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(document); err != nil {
				t.Error(err)
			}
			// What has to fail does: the schema is there.
			document.(map[string]any)["components"].([]any)[0].(map[string]any)["type"] = "kernel"
			if err := schema.Validate(document); err == nil {
				t.Error("schema takes a component of type kernel")
			}
		})
	}
}
