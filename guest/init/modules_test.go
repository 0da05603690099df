package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestLoadOrder(t *testing.T) {
	const dep = "kernel/drivers/virtio/virtio.ko:\n" +
		"kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko\n" +
		"kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n" +
		"kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n" +
		"kernel/net/vmw_vsock/vmw-vsock-transport.ko:\n"
	const (
		virtio = "kernel/drivers/virtio/virtio.ko"
		ring   = "kernel/drivers/virtio/virtio_ring.ko"
		pci    = "kernel/drivers/virtio/virtio_pci.ko"
		blk    = "kernel/drivers/block/virtio_blk.ko"
		vsock  = "kernel/net/vmw_vsock/vmw-vsock-transport.ko"
	)
	tests := []struct {
		name, list, dep string
		want            []string
		wantErr         string
	}{
		{"nothing", "", dep, nil, ""},
		{"without dependencies", "virtio\n", dep, []string{virtio}, ""},
		{"dependencies go first", "virtio_pci\n", dep, []string{virtio, ring, pci}, ""},
		{"each once", "virtio_pci\nvirtio_blk\nvirtio\nvirtio_pci\n", dep, []string{virtio, ring, pci, blk}, ""},
		{"order of the list", "virtio_blk\nvirtio_pci\n", dep, []string{virtio, ring, blk, pci}, ""},
		{"comments and space", "# disks\n\n \tvirtio \n#virtio_blk\n", dep, []string{virtio}, ""},
		{"no last newline", "virtio", strings.TrimSuffix(dep, "\n"), []string{virtio}, ""},
		{"dashes and underscores", "vmw_vsock_transport\nvirtio-ring\n", dep, []string{vsock, virtio, ring}, ""},
		{"modules.dep empty", "virtio\n", "", nil, "module virtio of /etc/modules is not in modules.dep"},
		{"unknown module", "virtio\nnfs\n", dep, nil, "module nfs of /etc/modules is not in modules.dep"},
		{"parameters are none of a name", "virtio debug=1\n", dep, nil, "module virtio debug=1 of /etc/modules is not in modules.dep"},
		{"line without a colon", "virtio\n", dep + "virtio_pci.ko virtio.ko\n", nil, `read modules.dep: no colon in "virtio_pci.ko virtio.ko"`},
		{"empty line", "virtio\n", dep + "\n", nil, `read modules.dep: no colon in ""`},
		{"long line of modules.dep", "virtio\n", "a.ko: " + strings.Repeat("x", 1<<20) + "\n", nil, "read modules.dep: bufio.Scanner: token too long"},
		{"long line of the list", strings.Repeat("x", 1<<20), dep, nil, "read /etc/modules: bufio.Scanner: token too long"},
		{"modules.dep in binary", "virtio\n", "\x00\x01", nil, `read modules.dep: no colon in "\x00\x01"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := loadOrder(strings.NewReader(test.list), strings.NewReader(test.dep))
			if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
				t.Fatalf("got error %v, want %q", err, test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadOrderReadErrors(t *testing.T) {
	bad := func() io.Reader { return iotest.ErrReader(io.ErrNoProgress) }
	for _, test := range []struct {
		list, dep io.Reader
		want      string
	}{
		{strings.NewReader(""), bad(), "read modules.dep: "},
		{bad(), strings.NewReader(""), "read /etc/modules: "},
	} {
		if _, err := loadOrder(test.list, test.dep); !errors.Is(err, io.ErrNoProgress) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("got error %v, want %s%v", err, test.want, io.ErrNoProgress)
		}
	}
}
