//go:build vm

package boot

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// TestVolumes attaches volumes of all modes, one of them behind /dev/vdz.
func TestVolumes(t *testing.T) {
	t.Parallel()
	const last = 26 // vdaa
	script := `for path in /shared /layered /last; do awk -v path=$path '$2 == path {print $1, $3, $4}' /proc/mounts; done | sed 's/,relatime//; s/,lowerdir.*//'
touch /shared/x 2>/dev/null || echo refused
touch /layered/new /last/new && ls /layered /last | grep -v lost; mount | grep -c ext4`
	got := boot(t, options{
		config: &contract.Config{
			Cmd: []string{"sh", "-c", script}, SkipKernelHeaders: true, SkipGuestAgent: true,
			VolumeMounts: []contract.VolumeMount{
				{Device: contract.DiskName(3), Path: "/shared", Mode: contract.VolumeReadOnly},
				{Device: contract.DiskName(4), OverlayDevice: contract.DiskName(5), Path: "/layered", Mode: contract.VolumeOverlay},
				{Device: contract.DiskName(last), Path: "/last", Mode: contract.VolumeReadWrite},
			},
		},
		attach: func(dir string, disks []vm.Disk) []vm.Disk {
			for i := len(disks); i <= last; i++ {
				disk := vm.Disk{Path: filepath.Join(dir, fmt.Sprintf("volume%d", i)), ReadOnly: i == 3 || i == 4}
				if err := rootfs.WriteOverlay(disk.Path, rootfs.MinOverlay); err != nil {
					t.Fatal(err)
				}
				disks = append(disks, disk)
			}
			return disks
		},
	})
	want := "/dev/vdd ext4 ro,norecovery\noverlay overlay rw\n/dev/vdaa ext4 rw\nrefused\n/last:\nnew\n\n/layered:\nnew\n2\n"
	if diff := cmp.Diff(want, got.output); diff != "" || got.exit.Code != 0 {
		t.Errorf("exit %v, output (-want +got):\n%s\nserial output:\n%s", got.exit, diff, got.serial)
	}
	checkClean(t, got.disks[last].Path)
}

// TestRootTypes boots root disks of the read-only file systems, which the tools
// of their own projects make.
func TestRootTypes(t *testing.T) {
	t.Parallel()
	set, err := platforms["x86_64"]()
	if err != nil {
		t.Fatal(err)
	}
	base, err := tarball.LayerFromFile(set.Base)
	if err != nil {
		t.Fatal(err)
	}
	content, err := base.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	archive, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	makers := map[string]func(disk string) *exec.Cmd{
		// As hypeman hosts make them.
		"erofs": func(disk string) *exec.Cmd { return exec.Command("mkfs.erofs", "-zlz4", "--tar=f", disk) },
		"squashfs": func(disk string) *exec.Cmd {
			return exec.Command("mksquashfs", "-", disk, "-tar", "-noappend", "-quiet")
		},
	}
	for name, maker := range makers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := boot(t, options{
				config: &contract.Config{Cmd: []string{"sh", "-c", "echo written >/etc/new; cat /etc/new; exit 5"}, SkipKernelHeaders: true, SkipGuestAgent: true},
				attach: func(_ string, disks []vm.Disk) []vm.Disk {
					if err := os.Remove(disks[0].Path); err != nil {
						t.Fatal(err)
					}
					cmd := maker(disks[0].Path)
					cmd.Stdin = bytes.NewReader(archive)
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%v: %v\n%s", cmd, err, out)
					}
					return disks
				},
			})
			if got.output != "written\n" || got.exit != contract.NewExitInfo(5) {
				t.Errorf("got %q, %v\nserial output:\n%s", got.output, got.exit, got.serial)
			}
		})
	}
}
