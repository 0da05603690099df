package systemtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	files, err := runfiles.New(runfiles.Directory(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := find(files, "", "x86_64"); err == nil || !strings.HasSuffix(err.Error(), "add //system:bundle_x86_64 to the test's data") {
		t.Errorf("no set: got error %v", err)
	}
	for _, test := range []struct{ repository, target, want string }{
		{"", "bundle_x86_64", "_main/system/bundle_x86_64"},
		{"", "bundle", "_main/system/bundle"},
		{"kindling+", "bundle_x86_64", "kindling+/system/bundle_x86_64"},
	} {
		want := filepath.Join(dir, test.want)
		if err := os.MkdirAll(want, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(want, "manifest.json"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := find(files, test.repository, "x86_64"); err != nil || got != want {
			t.Errorf("find = %s, %v, want %s", got, err, want)
		}
	}
}
