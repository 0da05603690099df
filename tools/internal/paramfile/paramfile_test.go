package paramfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	name := filepath.Join(t.TempDir(), "params")
	if err := os.WriteFile(name, []byte("--a\nb c\n\n@none\nlast"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Expand([]string{"first", "@" + name, "x@y"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"first", "--a", "b c", "", "@none", "last", "x@y"}, got); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if _, err := Expand([]string{"@" + name + "x"}); err == nil || err.Error() != "read param file: open "+name+"x: no such file or directory" {
		t.Errorf("no file: got error %v", err)
	}
}
