package layout

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeFiles makes a wrenn directory with files in kernels/.
func writeFiles(t *testing.T, names ...string) (wrennDir string) {
	t.Helper()
	wrennDir = t.TempDir()
	if err := os.Mkdir(filepath.Join(wrennDir, "kernels"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(wrennDir, "kernels", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return wrennDir
}

func TestLatestKernel(t *testing.T) {
	tests := []struct {
		name  string
		files []string
		want  string // "" for none
	}{
		{"one", []string{"vmlinux-6.1.102"}, "6.1.102"},
		{"numbers, not text", []string{"vmlinux-6.1.9", "vmlinux-6.1.102"}, "6.1.102"},
		{"minor", []string{"vmlinux-6.12.1", "vmlinux-6.1.102"}, "6.12.1"},
		{"two parts", []string{"vmlinux-6.1", "vmlinux-6.0.5"}, "6.1"},
		{"suffixes are not versions", []string{"vmlinux-6.1.102", "vmlinux-6.1.103.tmp", "vmlinux-6.1.103.sha256", "vmlinux-old", "vmlinux-6.1.103~", "vmlinux-6.1.103.old"}, "6.1.102"},
		{"only suffixes", []string{"vmlinux-6.1.103.tmp", "vmlinux-old", "vmlinux-"}, ""},
		{"plain does not count", []string{"vmlinux"}, ""},
		{"other names do not count", []string{".vmlinux-6.1.1", "Image-6.1.1", "vmlinux6.1.1"}, ""},
		{"release after its candidate", []string{"vmlinux-6.1.102-rc1", "vmlinux-6.1.102"}, "6.1.102"},
		{"later candidate", []string{"vmlinux-6.1.102-rc9", "vmlinux-6.1.102-rc10", "vmlinux-6.1.102-rc2"}, "6.1.102-rc10"},
		{"tie of zeros", []string{"vmlinux-6.1", "vmlinux-6.1.0"}, "6.1.0"},
		{"tie of the same length", []string{"vmlinux-6.1.102-a", "vmlinux-6.1.102-b"}, "6.1.102-b"},
		{"hypeman's names are of version 0", []string{"vmlinux-ch-6.12.8-kernel-1.4-202602101", "vmlinux-0.13"}, "0.13"},
		{"hypeman's names among themselves", []string{"vmlinux-ch-6.12.8-kernel-1.4-202602101", "vmlinux-ch-6.12.8-kernel-1.3-202601152"}, "ch-6.12.8-kernel-1.4-202602101"},
		{"letter in front", []string{"vmlinux-v6.1.102", "vmlinux-0.2"}, "0.2"},
		{"none", nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := writeFiles(t, test.files...)
			path, version, err := LatestKernel(dir)
			if test.want == "" {
				if want := "no vmlinux-* files found in " + dir + "/kernels"; err == nil || err.Error() != want {
					t.Errorf("got %s, error %v, want %s", path, err, want)
				}
				return
			}
			if err != nil || version != test.want || path != dir+"/kernels/vmlinux-"+test.want {
				t.Errorf("got %s, %s, error %v, want %s", path, version, err, test.want)
			}
		})
	}
}

func TestLatestKernelOfLinks(t *testing.T) {
	dir := writeFiles(t, "vmlinux-6.1.1", "real")
	kernels := filepath.Join(dir, "kernels")
	for name, target := range map[string]string{
		"vmlinux-6.1.2": "real", "vmlinux-6.1.3": ".", "vmlinux-6.1.4": "missing", "vmlinux-6.1.5": "vmlinux-6.1.5",
	} {
		if err := os.Symlink(target, filepath.Join(kernels, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(kernels, "vmlinux-6.1.6"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, version, err := LatestKernel(dir); err != nil || version != "6.1.2" {
		t.Errorf("got %s, error %v, want 6.1.2, the only link to a file", version, err)
	}
}

func TestLatestKernelWithoutFolder(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := LatestKernel(dir); err == nil || !strings.HasPrefix(err.Error(), "read directory "+dir+"/kernels: ") {
		t.Errorf("got error %v", err)
	}
}

func TestFindKernel(t *testing.T) {
	tests := []struct {
		name          string
		files         []string
		want, version string
	}{
		{"plain alone", []string{"vmlinux", "vmlinux-old"}, "vmlinux", ""},
		{"version first", []string{"vmlinux", "vmlinux-6.1.1"}, "vmlinux-6.1.1", "6.1.1"},
		{"none", []string{"vmlinux-old"}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := writeFiles(t, test.files...)
			path, version, err := FindKernel(dir)
			if test.want == "" {
				if err == nil || err.Error() != "no vmlinux-* files found in "+dir+"/kernels" {
					t.Errorf("got %s, error %v", path, err)
				}
				return
			}
			if err != nil || path != filepath.Join(dir, "kernels", test.want) || version != test.version {
				t.Errorf("got %s, %q, error %v, want %s, %q", path, version, err, test.want, test.version)
			}
		})
	}
}

// TestCompareVersions has the order of the contract: the numbers that wrenn reads.
func TestCompareVersions(t *testing.T) {
	tests := []struct {
		part string
		want int64
	}{
		{"102", 102}, {"102-rc1", 102}, {"abc", 0}, {"", 0}, {"v6", 0}, {"+5", 5}, {"-1", -1}, {"007", 7}, {"0x10", 0},
		{"  8", 8}, {"99999999999999999999", 0}, {"1_0", 1},
	}
	for _, test := range tests {
		if got := number([]string{test.part}, 0); got != test.want {
			t.Errorf("number(%q) = %d, want %d", test.part, got, test.want)
		}
	}
	ascending := []string{
		"-1", "v6", "0.13", "1", "5.10.200", "+6.1-x", "6.1-x.0", "6.1", "6.1.0", "6.1.102-rc1", "6.1.102", "6.01.102", "6.12", "7",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := compareVersions(a, b), cmp.Compare(i, j); got != want {
				t.Errorf("compareVersions(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

// FuzzCompareVersions checks that the order is total, so that the newest version
// does not depend on the order of a folder.
func FuzzCompareVersions(f *testing.F) {
	f.Add("6.1", "6.1.0", "6.1.102-rc1")
	f.Add("v6", " 6", "+6.1")
	f.Add("0x10", "99999999999999999999", "-1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		versions := []string{a, b, c}
		for _, x := range versions {
			for _, y := range versions {
				if got := compareVersions(x, y); got != -compareVersions(y, x) || (got == 0) != (x == y) {
					t.Errorf("compareVersions(%q, %q) = %d, the other way round %d", x, y, got, compareVersions(y, x))
				}
			}
		}
		want := slices.MaxFunc(versions, compareVersions)
		for range 5 {
			versions = append(versions[1:], versions[0])
			if got := slices.MaxFunc(versions, compareVersions); got != want {
				t.Errorf("newest of %q is %q, of another order %q", versions, got, want)
			}
		}
	})
}
