package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestReadModuleList(t *testing.T) {
	tests := []struct {
		name, list string
		want       []string
		wantErr    string
	}{
		{"nothing", "", nil, ""},
		{"order of the list", "virtio_blk\nvirtio_pci\n", []string{"virtio_blk", "virtio_pci"}, ""},
		{"comments and space", "# disks\n\n \tvirtio \n#virtio_blk\n", []string{"virtio"}, ""},
		{"no last newline", "virtio", []string{"virtio"}, ""},
		{"parameters are a part of the name", "virtio debug=1\n", []string{"virtio debug=1"}, ""},
		{"long line", strings.Repeat("x", 1<<20), nil, "read /etc/modules: bufio.Scanner: token too long"},
	}
	for _, test := range tests {
		got, err := readModuleList(strings.NewReader(test.list))
		if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.wantErr)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	if _, err := readModuleList(iotest.ErrReader(io.ErrNoProgress)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got error %v, want %v", err, io.ErrNoProgress)
	}
}
