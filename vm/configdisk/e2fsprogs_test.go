//go:build vm

package configdisk

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/internal/ext4/ext4test"
)

func TestWriteFsck(t *testing.T) {
	path := write(t, config)
	ext4test.Check(t, path)
	if diff := cmp.Diff([]string{"lost+found", "config.json"}, ext4test.Names(t, path, "/")); diff != "" {
		t.Errorf("root directory (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(document, ext4test.Debugfs(t, path, "cat "+contract.ConfigFile)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	if got := ext4test.Debugfs(t, path, "stat "+contract.ConfigFile); !strings.Contains(got, "Type: regular    Mode:  0644") {
		t.Errorf("got %s, want a regular file of mode 0644", got)
	}
}
