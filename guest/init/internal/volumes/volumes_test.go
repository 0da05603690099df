package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

// memory are disks that are all there, with a file system in memory on each.
var memory = Disks{
	Wait: func(string) error { return nil },
	Type: func(string) (string, error) { return "tmpfs", nil },
}

// machine is a file system of a test's own with an image in it.
type machine struct {
	base, image, support string
	root                 *inroot.Root
}

func newMachine(t *testing.T, things ...string) machine {
	t.Helper()
	base := nstest.TempDir(t)
	m := machine{base: base, image: filepath.Join(base, "image"), support: filepath.Join(base, "support")}
	imagetest.Place(t, base, "image/", "outside/", "support/")
	imagetest.Place(t, m.image, things...)
	var err error
	if m.root, err = inroot.Open(m.image); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.root.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// mounts lists "path type" of the mounts below the test's folder, sorted, with "ro" for
// those that are read-only.
func (m machine) mounts(t *testing.T) []string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if dir, ok := strings.CutPrefix(fields[1], m.base+"/"); ok {
			entry := dir + " " + fields[2]
			if strings.HasPrefix(fields[3], "ro") {
				entry += " ro"
			}
			list = append(list, entry)
		}
	}
	slices.Sort(list) // the kernel's order is that of creation
	return list
}

func texts(errs []error) []string {
	var list []string
	for _, err := range errs {
		list = append(list, err.Error())
	}
	return list
}

func volume(path, mode string) contract.VolumeMount {
	return contract.VolumeMount{Device: "/dev/vdd", Path: path, Mode: mode, OverlayDevice: "/dev/vde"}
}

func TestMount(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	tests := []struct {
		name    string
		image   []string
		list    []contract.VolumeMount
		want    []string
		wantErr []string
	}{
		{"none", nil, nil, nil, nil},
		{
			name: "each mode",
			list: []contract.VolumeMount{volume("/a", "rw"), volume("/b", "ro"), volume("/c/d", "overlay"), volume("/e", "other"), volume("/f", "")},
			want: []string{"image/a tmpfs", "image/b tmpfs ro", "image/c/d overlay", "image/e tmpfs", "image/f tmpfs"},
		},
		{
			name: "one in the other",
			list: []contract.VolumeMount{volume("/a", "rw"), volume("/a/b", "overlay"), volume("/a/b/c", "rw")},
			want: []string{"image/a tmpfs", "image/a/b overlay", "image/a/b/c tmpfs"},
		},
		{
			name: "two at one place",
			list: []contract.VolumeMount{volume("/a", "rw"), volume("/a", "ro")},
			want: []string{"image/a tmpfs", "image/a tmpfs ro"},
		},
		{
			name:    "inside of one that cannot be written",
			list:    []contract.VolumeMount{volume("/a", "ro"), volume("/a/b", "rw"), volume("/c", "rw")},
			want:    []string{"image/a tmpfs ro", "image/c tmpfs"},
			wantErr: []string{`volume 1 at "/a/b": make /a/b in the image: read-only file system`},
		},

		{
			name: ".. out",
			list: []contract.VolumeMount{volume("../../outside", "rw")},
			want: []string{"image/outside tmpfs"},
		},
		{
			name: "link out", image: []string{"opt -> ../../outside"},
			list:    []contract.VolumeMount{volume("/opt/x", "rw")},
			wantErr: []string{`volume 0 at "/opt/x": open /opt in the image: no such file or directory`},
		},
		{
			name: "link inside", image: []string{"opt -> /srv", "srv/"},
			list: []contract.VolumeMount{volume("/opt", "rw"), volume("/opt/deep/er", "ro")},
			want: []string{"image/srv tmpfs", "image/srv/deep/er tmpfs ro"},
		},
		{
			name: "file", image: []string{"data"},
			list:    []contract.VolumeMount{volume("/data", "rw")},
			wantErr: []string{`volume 0 at "/data": open /data in the image: not a directory`},
		},
		{
			name: "loop", image: []string{"data -> data"},
			list:    []contract.VolumeMount{volume("/data", "rw")},
			wantErr: []string{`volume 0 at "/data": open /data in the image: too many levels of symbolic links`},
		},
		{
			name: "the root", image: []string{"up -> /.."},
			list: []contract.VolumeMount{volume("/", "rw"), volume("", "rw"), volume("/a/../..", "rw"), volume("/up", "rw")},
			wantErr: []string{
				`volume 0 at "/": the image itself is there`,
				`volume 1 at "": the image itself is there`,
				`volume 2 at "/a/../..": the image itself is there`,
				`volume 3 at "/up": the image itself is there`,
			},
		},

		{
			name: "no disk",
			list: []contract.VolumeMount{{Path: "/a", Mode: "rw"}, {Device: "/dev/vdd", Path: "/b", Mode: "overlay"}, volume("/c", "rw")},
			want: []string{"image/c tmpfs"},
			wantErr: []string{
				`volume 0 at "/a": mode rw needs a disk more`,
				`volume 1 at "/b": mode overlay needs a disk more`,
			},
		},
		{
			name: "nfs",
			list: []contract.VolumeMount{
				{Path: "/a", Mode: "nfs", NFSHost: "10.0.0.1"},
				{Path: "/b", Mode: "nfs", NFSExport: "/x"},
				{Path: "/c", Mode: "nfs", NFSHost: "files.example", NFSExport: "/x"},
			},
			wantErr: []string{
				`volume 0 at "/a": nfs needs a host and an export`,
				`volume 1 at "/b": nfs needs a host and an export`,
				`volume 2 at "/c": parse nfs host: ParseAddr("files.example"): unexpected character (at "files.example")`,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t, test.image...)
			got := texts(mount(m.root, test.list, memory, m.support))
			if diff := cmp.Diff(test.wantErr, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, m.mounts(t)); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string(nil), imagetest.Tree(t, filepath.Join(m.base, "outside"))); diff != "" {
				t.Errorf("made outside of the image (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMountOverlay checks that an overlay volume can be written once nothing
// but it has its disks.
func TestMountOverlay(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	m := newMachine(t)
	if errs := mount(m.root, []contract.VolumeMount{volume("/data", "overlay")}, memory, m.support); errs != nil {
		t.Fatal(errs)
	}
	file := filepath.Join(m.image, "data/new")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); string(got) != "content" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestMountParallel has disks whose types are told once both were asked for.
func TestMountParallel(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	m := newMachine(t)
	var waited []string
	var asked sync.WaitGroup
	asked.Add(2)
	disks := Disks{
		Wait: func(device string) error { waited = append(waited, device); return nil },
		Type: func(string) (string, error) {
			asked.Done()
			asked.Wait()
			return "tmpfs", nil
		},
	}
	list := []contract.VolumeMount{{Device: "vde", Path: "/a", Mode: "rw"}, {Device: "vdd", Path: "/b", Mode: "ro"}}
	if errs := mount(m.root, list, disks, m.support); errs != nil {
		t.Error(errs)
	}
	if diff := cmp.Diff([]string{"vde", "vdd"}, waited); diff != "" {
		t.Errorf("disks waited for (-want +got):\n%s", diff)
	}
}

func TestMountBadDisks(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	m := newMachine(t)
	types := map[string]string{"vde": "nosuchfs", "vdf": "erofs", "vdg": "tmpfs"}
	disks := Disks{
		Wait: func(device string) error {
			if device == "vdd" {
				return errors.New("wait for disk vdd: not there after 10s")
			}
			return nil
		},
		Type: func(device string) (string, error) {
			if device == "vdh" {
				return "", errors.New("read disk vdh: input/output error")
			}
			return types[device], nil
		},
	}
	var list []contract.VolumeMount
	for _, device := range []string{"vdd", "vde", "vdf", "vdg", "vdh"} {
		list = append(list, contract.VolumeMount{Device: device, Path: "/" + device, Mode: "rw"})
	}
	list = append(list,
		contract.VolumeMount{Device: "vdg", OverlayDevice: "vdd", Path: "/a", Mode: "overlay"},
		contract.VolumeMount{Device: "vdg", OverlayDevice: "vde", Path: "/b", Mode: "overlay"},
		contract.VolumeMount{Device: "vdh", OverlayDevice: "vdg", Path: "/c", Mode: "overlay"},
	)
	want := []string{
		`volume 0 at "/vdd": wait for disk vdd: not there after 10s`,
		`volume 1 at "/vde": vde: the kernel has no file system nosuchfs: no such device`,
		`volume 2 at "/vdf": vdf has erofs, which cannot be written`,
		`volume 4 at "/vdh": read disk vdh: input/output error`,
		`volume 5 at "/a": wait for disk vdd: not there after 10s`,
		`volume 6 at "/b": vde: the kernel has no file system nosuchfs: no such device`,
		`volume 7 at "/c": read disk vdh: input/output error`,
	}
	if diff := cmp.Diff(want, texts(mount(m.root, list, disks, m.support))); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"image/vdg tmpfs"}, m.mounts(t)); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}
