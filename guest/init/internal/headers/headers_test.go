package headers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/init/internal/fsmount"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

const release = "6.12.8+kindling"

// newInstaller gives an installer into an image with things whose mounts are in
// memory, and what it logs. A release that is not empty is in the headers.
func newInstaller(t *testing.T, headersOf string, things ...string) (i *Installer, image string, log *[]string) {
	t.Helper()
	base := nstest.TempDir(t)
	image = filepath.Join(base, "image")
	imagetest.Place(t, base, "outside/", "outside/kept", "image/")
	imagetest.Place(t, image, things...)
	root, err := inroot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"kept ----------"}, imagetest.Tree(t, filepath.Join(base, "outside"))); diff != "" {
			t.Errorf("outside of the image (-want +got):\n%s", diff)
		}
	})
	log = new([]string)
	return &Installer{
		Root:    root,
		Release: release,
		Log:     func(format string, args ...any) { *log = append(*log, fmt.Sprintf(format, args...)) },
		Now:     func() time.Time { return time.Date(2026, 3, 8, 16, 9, 26, 535, time.FixedZone("", 3600)) },
		mount: func(*os.File) (int, error) {
			mount, err := fsmount.Create("tmpfs", false)
			if err != nil {
				return -1, err
			}
			tree := fmt.Sprintf("/proc/self/fd/%d", mount)
			imagetest.Place(t, tree, "include/generated/", "Makefile")
			if headersOf != "" {
				err = os.WriteFile(filepath.Join(tree, "include/generated/utsrelease.h"), []byte("#define UTS_RELEASE \""+headersOf+"\"\n"), 0o644)
			}
			return mount, err
		},
	}, image, log
}

func checkInstalled(t *testing.T, image string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(image, "usr/src/linux-headers-"+release, "Makefile")); err != nil {
		t.Error(err)
	}
	link := filepath.Join(image, "lib/modules", release, "build")
	if got, err := os.Readlink(link); got != "/usr/src/linux-headers-"+release || err != nil {
		t.Errorf("link = %q, %v", got, err)
	}
}

func checkStatus(t *testing.T, image, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(image, StatusFile)); string(got) != want+"\n" || err != nil {
		t.Errorf("status = %q, %v, want %s", got, err, want)
	}
}

func TestInstall(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	tests := []struct {
		name      string
		headersOf string
		image     []string
	}{
		{"empty image", release, nil},
		{"headers that do not tell their kernel", "", nil},
		{"from an earlier boot", release, []string{"usr/src/linux-headers-" + release + "/", "lib/modules/" + release + "/", "lib/modules/" + release + "/build -> /usr/src/linux-headers-" + release}},
		{"image's own of the same kernel", release, []string{"usr/src/linux-headers-" + release + "/include/", "lib/modules/" + release + "/build/", "lib/modules/" + release + "/build/Makefile"}},
		{"link elsewhere", release, []string{"lib/modules/" + release + "/", "lib/modules/" + release + "/build -> ../../../../outside"}},
		{"merged /usr", release, []string{"usr/lib/", "lib -> usr/lib", "run -> /var/run", "var/run/"}},
		{"source link out", release, []string{"usr/", "usr/src -> /outside", "outside/"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i, image, log := newInstaller(t, test.headersOf, test.image...)
			if err := i.Pending(); err != nil {
				t.Error(err)
			}
			// /usr/src and /run may be links that mean something else out here.
			if test.image == nil {
				checkStatus(t, image, "pending")
			}
			if err := i.Install(nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"HYPEMAN-HEADERS-START ts=2026-03-08T15:09:26.000000535Z", "HYPEMAN-HEADERS-READY ts=2026-03-08T15:09:26.000000535Z"}, *log); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
			for _, name := range []string{"/usr/src/linux-headers-" + release + "/Makefile", "/lib/modules/" + release + "/build/Makefile"} {
				if got, err := i.Root.ReadFile(name, 100); string(got) != "content of the image" || err != nil {
					t.Errorf("%s = %q, %v", name, got, err)
				}
			}
			if got, err := i.Root.ReadFile(StatusFile, 100); string(got) != "ready\n" || err != nil {
				t.Errorf("status = %q, %v", got, err)
			}
		})
	}
}

func TestInstallFails(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	const source = "/usr/src/linux-headers-" + release
	tests := []struct {
		name      string
		headersOf string
		image     []string
		change    func(*Installer)
		want      string
	}{
		{"of another kernel", "6.1.0-9", nil, nil, `headers are of kernel "6.1.0-9", the running one is "` + release + `"`},
		{"no image", release, nil, func(i *Installer) {
			i.mount = func(*os.File) (int, error) { return -1, errors.New("no loop device") }
		}, "no loop device"},
		{"panic", release, nil, func(i *Installer) {
			i.mount = func(*os.File) (int, error) { panic("oh") }
		}, "init panicked: oh"},
		{"release with a slash", release, nil, func(i *Installer) { i.Release = "../x" }, `kernel release "../x" is no file name`},
		{"no release", release, nil, func(i *Installer) { i.Release = "" }, `kernel release "" is no file name`},
		{"file in the place", release, []string{"usr/src/", "usr/src/linux-headers-" + release}, nil, "open " + source + " in the image: not a directory"},
		{"link out in the place", release, []string{"usr/", "usr/src -> /outside"}, nil, "open /usr/src in the image: no such file or directory"},
		{"/lib is a file", release, []string{"lib"}, nil, "write"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i, image, log := newInstaller(t, test.headersOf, append(test.image, "opt/", "opt/kept")...)
			if test.change != nil {
				test.change(i)
			}
			want := test.want
			if want == "write" {
				want = "link /lib/modules/" + release + "/build in the image: open /lib in the image: not a directory"
			}
			err := i.Install(nil)
			if err == nil || err.Error() != want {
				t.Errorf("got error %v, want %s", err, want)
			}
			checkStatus(t, image, "failed")
			wantLog := []string{"HYPEMAN-HEADERS-START ts=2026-03-08T15:09:26.000000535Z", fmt.Sprintf("HYPEMAN-HEADERS-FAILED ts=2026-03-08T15:09:26.000000535Z error=%q", want)}
			if diff := cmp.Diff(wantLog, *log); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemoveOthers(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWNS) {
		return
	}
	i, image, log := newInstaller(t, release,
		"lib/modules/6.1.0-9/kernel/", "lib/modules/6.1.0-9/build -> /usr/src/linux-headers-6.1.0-9", "lib/modules/file", "lib/modules/link -> /outside",
		"usr/src/linux-headers-6.1.0-9/include/", "usr/src/linux-headers-6.1.0-9/out -> ../../../../outside", "usr/src/linux-headers-6.1.0-9/Makefile",
		"usr/src/nvidia-550/", "usr/src/linux-headers-link -> nvidia-550", "usr/src/linux-headers-volume/", "usr/src/linux-headers-volume/kept",
	)
	volume := filepath.Join(image, "usr/src/linux-headers-volume")
	if err := unix.Mount(volume, volume, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := i.Install(nil); err != nil {
		t.Fatal(err)
	}
	*log = nil
	want := "remove /usr/src/linux-headers-volume in the image: linux-headers-volume: invalid cross-device link"
	if err := i.RemoveOthers(); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	checkInstalled(t, image)
	checkStatus(t, image, "ready")
	const why = ": of another kernel than " + release
	wantLog := []string{"removing /lib/modules/6.1.0-9" + why, "removing /usr/src/linux-headers-6.1.0-9" + why, "removing /usr/src/linux-headers-volume" + why}
	if diff := cmp.Diff(wantLog, *log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	for dir, want := range map[string][]string{
		"lib/modules": {release, "file", "link"},
		"usr/src":     {"linux-headers-" + release, "linux-headers-link", "linux-headers-volume", "nvidia-550"},
	} {
		entries, err := os.ReadDir(filepath.Join(image, dir))
		if err != nil {
			t.Error(err)
		}
		var got []string
		for _, entry := range entries {
			got = append(got, entry.Name())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dir, diff)
		}
	}
	if _, err := os.Stat(filepath.Join(volume, "kept")); err != nil {
		t.Error(err)
	}
}
