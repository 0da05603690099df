package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	tests := []struct {
		name, want string
		args       []string
	}{
		{"nothing to do", "want install SET DATADIR, or flatten DISK LAYOUT", nil},
		{"too much", "want install SET DATADIR, or flatten DISK LAYOUT", []string{"install", "a", "b", "c"}},
		{"no set", none, []string{"install", none, t.TempDir()}},
		{"no image", none, []string{"flatten", filepath.Join(t.TempDir(), "disk"), none}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := run(t.Context(), test.args); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %s", err, test.want)
			}
		})
	}
}
