package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

func baseImage(t *testing.T) *rootfs.Image {
	t.Helper()
	newHost(t)
	set, err := system.Open(os.Getenv("KINDLING_ARTIFACTS"), "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	image, err := loadImage(t.Context(), "", set, rootfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestParseVolume(t *testing.T) {
	tests := []struct {
		text string
		want volume
		err  string // in the error; "" for none
	}{
		{"data.img:/data", volume{Source: "data.img", Path: "/data"}, ""},
		{"data.img:/data:ro", volume{Source: "data.img", Path: "/data", Mode: "ro"}, ""},
		{"./a:b:/data/../x/:overlay", volume{Source: "./a:b", Path: "/x", Mode: "overlay"}, ""},
		{"/a:/ro:rw", volume{Source: "/a", Path: "/ro", Mode: "rw"}, ""},
		{"data.img", volume{}, "want SOURCE:PATH"},
		{"", volume{}, "want SOURCE:PATH"},
		{":/data", volume{}, "want SOURCE:PATH"},
		{"ro", volume{}, "want SOURCE:PATH"},
		{"a:ro", volume{}, "want SOURCE:PATH"},
		{"a:data", volume{}, `"data" is neither a mode, want ro, rw, overlay, nor an absolute path`},
		{"a:/data:nfs", volume{}, `"nfs" is neither a mode`},
		{"a:/", volume{}, "the image itself is at /"},
		{"a:/..:ro", volume{}, "the image itself is at /"},
	}
	for _, test := range tests {
		got, err := parseVolume(test.text)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: got error %v, want %q", test.text, err, test.err)
		}
		if got != test.want {
			t.Errorf("%q: got %+v, want %+v", test.text, got, test.want)
		}
	}
	if _, err := parseVolumes([]string{"a:/x", "b:/x/"}); err == nil || err.Error() != "--volume has two volumes at /x" {
		t.Errorf("two at one path: got error %v", err)
	}
}

// writeImage writes a file with a magic number.
func writeImage(t *testing.T, name, magic string, offset int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	data := make([]byte, 8192)
	copy(data[offset:], magic)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSettleVolumes(t *testing.T) {
	ext4 := writeImage(t, "ext4", "\x53\xef", 1024+0x38)
	erofs := writeImage(t, "erofs", "\xe2\xe1\xf5\xe0", 1024)
	squashfs := writeImage(t, "squashfs", "hsqs", 0)
	blank := writeImage(t, "blank", "", 0)
	folder := t.TempDir()
	const noSystem = "it has no file system that the guest knows: want ext4, erofs or squashfs"
	tests := []struct {
		source, mode string
		want         string // mode
		err          string // behind the source; "" for none
	}{
		{ext4, "", "rw", ""},
		{ext4, "ro", "ro", ""},
		{ext4, "overlay", "overlay", ""},
		{erofs, "ro", "ro", ""},
		{squashfs, "overlay", "overlay", ""},
		{folder, "", "ro", ""},
		{folder, "overlay", "overlay", ""},
		{folder, "rw", "", "a folder reaches the guest as a copy, and nothing that it writes would come back: want ro, overlay, or a disk image"},
		{erofs, "", "", "its file system cannot be written: want ro or overlay"},
		{squashfs, "rw", "", "its file system cannot be written: want ro or overlay"},
		{blank, "ro", "", noSystem},
		{os.DevNull, "ro", "", "it is neither a folder nor a regular file"},
		{"/no/such", "ro", "", "stat /no/such: no such file or directory"},
	}
	for _, test := range tests {
		volumes := []volume{{Source: test.source, Path: "/data", Mode: test.mode}}
		err := settleVolumes(volumes)
		if test.err != "" {
			if want := "use volume " + test.source + ": " + test.err; err == nil || err.Error() != want {
				t.Errorf("%s as %q: got error %v, want %q", test.source, test.mode, err, want)
			}
			continue
		}
		if err != nil || volumes[0].Mode != test.want {
			t.Errorf("%s as %q: got mode %q, error %v, want %q", test.source, test.mode, volumes[0].Mode, err, test.want)
		}
	}
}

func TestAddVolumes(t *testing.T) {
	folder, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	volumes := []volume{
		{Source: "/data.img", Path: "/data", Mode: contract.VolumeReadWrite},
		{Source: folder, Path: "/src", Mode: contract.VolumeOverlay, folder: true},
		{Source: "/shared.img", Path: "/shared", Mode: contract.VolumeReadOnly},
	}
	first := []vm.Disk{{Path: "root"}, {Path: "overlay"}, {Path: "config"}}
	config := &contract.Config{}
	var stderr bytes.Buffer
	disks, err := addVolumes(t.Context(), dir, volumes, first, config, &stderr)
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("got error %v, message %q", err, stderr.String())
	}
	copied, layer := filepath.Join(dir, "volume-1.ext4"), filepath.Join(dir, "volume-1-overlay.raw")
	want := append(first, vm.Disk{Path: "/data.img"}, vm.Disk{Path: copied, ReadOnly: true}, vm.Disk{Path: layer}, vm.Disk{Path: "/shared.img", ReadOnly: true})
	if diff := cmp.Diff(want, disks); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	mounts := []contract.VolumeMount{
		{Device: "/dev/vdd", Path: "/data", Mode: "rw"},
		{Device: "/dev/vde", Path: "/src", Mode: "overlay", OverlayDevice: "/dev/vdf"},
		{Device: "/dev/vdg", Path: "/shared", Mode: "ro"},
	}
	if diff := cmp.Diff(mounts, config.VolumeMounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	for _, name := range []string{copied, layer} {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("got disk %v, error %v", info, err)
		}
	}
}

// A folder's disk must not end up in the folder.
func TestRunVolumeHoldsState(t *testing.T) {
	h := newHost(t)
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(h.state, alias); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{h.state, alias} {
		want := "kindling: use volume " + folder + ": it holds the state folder of kindling; KINDLING_STATE_DIR names another place\n"
		if diff := cmp.Diff(result{125, "", want}, kindling("run", "-v", folder+":/x")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	h.requireReleased(t)
}

func TestRunVolumes(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("", 0))
	file := filepath.Join(t.TempDir(), "arguments")
	t.Setenv(argumentsEnv, file)
	t.Chdir(t.TempDir())
	if err := rootfs.WriteOverlay("data.img", overlaySize); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("src", 0o700); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(result{}, kindling("run", "--name", "web", "-v", "data.img:/data", "-v", "src:/src")); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	arguments, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	work, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"node-name=disk3,read-only=off,file.driver=file,file.filename=" + work + "/data.img\n",
		"node-name=disk4,read-only=on,file.driver=file,file.filename=" + strings.ReplaceAll(h.state, ",", ",,") + "/vm/web/volume-1.ext4\n",
	} {
		if !strings.Contains(string(arguments), want) {
			t.Errorf("got arguments\n%s\nwant in them\n%s", arguments, want)
		}
	}
	if got := kindling("run", "-v", "none.img:/data"); got.Code != 125 || got.Stderr != "kindling: use volume "+work+"/none.img: stat "+work+"/none.img: no such file or directory\n" {
		t.Errorf("missing source: got %+v", got)
	}
	h.requireReleased(t)
}
