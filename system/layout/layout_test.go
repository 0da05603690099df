package layout

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPaths(t *testing.T) {
	const (
		w     = "/var/lib/wrenn"
		zeros = "0000000000000000000000000"
		one   = "0000000000000000000000001"
		two   = "0000000000000000000000002"
	)
	team, template := ID{15: 1}, ID{15: 2}
	tests := []struct{ name, got, want string }{
		{"minimal", TemplateDir(w, ID{}, ID{}), w + "/images/minimal"},
		{"team's template", TemplateDir(w, team, template), w + "/images/teams/" + one + "/" + two},
		{"platform team's template", TemplateDir(w, ID{}, template), w + "/images/teams/" + zeros + "/" + two},
		{"team's zero template", TemplateDir(w, team, ID{}), w + "/images/teams/" + one + "/" + zeros},
		{"minimal root file system", TemplateRootfs(w, ID{}, ID{}), w + "/images/minimal/rootfs.ext4"},
		{"root file system", TemplateRootfs(w, team, template), w + "/images/teams/" + one + "/" + two + "/rootfs.ext4"},
		{"paused", PauseSnapshotDir(w, "cl-x"), w + "/snapshots/cl-x"},
		{"sandboxes", SandboxesDir(w), w + "/sandboxes"},
		{"kernel", KernelPath(w), w + "/kernels/vmlinux"},
		{"kernel of a version", KernelPathVersioned(w, "6.1.102"), w + "/kernels/vmlinux-6.1.102"},
		{"images", ImagesRoot(w), w + "/images"},
		{"teams", TeamsDir(w), w + "/images/teams"},
		{"relative", KernelPath("w"), "w/kernels/vmlinux"},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestIsMinimal(t *testing.T) {
	tests := []struct {
		team, template ID
		want           bool
	}{
		{ID{}, ID{}, true},
		{ID{0: 1}, ID{}, false},
		{ID{}, ID{15: 1}, false},
	}
	for _, test := range tests {
		if got := IsMinimal(test.team, test.template); got != test.want {
			t.Errorf("IsMinimal(%v, %v) = %v, want %v", test.team, test.template, got, test.want)
		}
	}
}
