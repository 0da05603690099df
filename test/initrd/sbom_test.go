//go:build vm

package initrd

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/initramfs"
)

// component is what the test reads of a component.
type component struct {
	Type       string      `json:"type"`
	Name       string      `json:"name"`
	Components []component `json:"components"`
}

// TestSBOM checks that every file of the initrd belongs to one component. That
// the SBOM follows the schema is tested with the tool that writes it.
func TestSBOM(t *testing.T) {
	forArches(t, func(t *testing.T, arch string, entries []entry) {
		name, err := runfiles.Rlocation("_main/system/bundle/" + arch + "/sbom.cdx.json")
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var sbom component
		if err := json.Unmarshal(data, &sbom); err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, owner := range sbom.Components {
			for _, file := range owner.Components {
				got = append(got, file.Name)
			}
		}
		for _, e := range entries {
			if e.Mode&initramfs.TypeMask != initramfs.TypeDir {
				want = append(want, "/"+e.Name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files (-initrd +SBOM):\n%s", diff)
		}
	})
}
