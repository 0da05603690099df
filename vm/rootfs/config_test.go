package rootfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
)

func TestGuestConfig(t *testing.T) {
	tests := []struct {
		name string
		in   v1.Config
		want contract.Config
	}{
		{
			name: "empty",
			want: contract.Config{Workdir: "/", Env: map[string]string{}, InitMode: contract.ModeExec},
		},
		{
			name: "everything",
			in: v1.Config{Entrypoint: []string{"/bin/a"}, Cmd: []string{"b", "c"}, WorkingDir: "/w", User: "nobody",
				Env: []string{"A=1", "B=x=y", "C=", "A=2"}},
			want: contract.Config{Entrypoint: []string{"/bin/a"}, Cmd: []string{"b", "c"}, User: "nobody", Workdir: "/w",
				Env: map[string]string{"A": "2", "B": "x=y", "C": ""}, InitMode: contract.ModeExec},
		},
		{
			name: "systemd as cmd",
			in:   v1.Config{Cmd: []string{"/sbin/init", "--log-level=info"}},
			want: contract.Config{Cmd: []string{"/sbin/init", "--log-level=info"}, Workdir: "/", Env: map[string]string{}, InitMode: contract.ModeSystemd},
		},
		{
			name: "systemd as entrypoint",
			in:   v1.Config{Entrypoint: []string{"/usr/lib/systemd/systemd"}, Cmd: []string{"x"}},
			want: contract.Config{Entrypoint: []string{"/usr/lib/systemd/systemd"}, Cmd: []string{"x"}, Workdir: "/", Env: map[string]string{}, InitMode: contract.ModeSystemd},
		},
		{
			name: "systemd is an argument",
			in:   v1.Config{Entrypoint: []string{"/tini"}, Cmd: []string{"/sbin/init"}},
			want: contract.Config{Entrypoint: []string{"/tini"}, Cmd: []string{"/sbin/init"}, Workdir: "/", Env: map[string]string{}, InitMode: contract.ModeExec},
		},
		{
			name: "other spelling",
			in:   v1.Config{Cmd: []string{"/usr/sbin/init"}},
			want: contract.Config{Cmd: []string{"/usr/sbin/init"}, Workdir: "/", Env: map[string]string{}, InitMode: contract.ModeExec},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := GuestConfig(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("GuestConfig (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuestConfigRejects(t *testing.T) {
	for _, entry := range []string{"", "A", "=x"} {
		_, err := GuestConfig(v1.Config{Env: []string{"OK=1", entry}})
		want := `map image configuration: environment entry "` + entry + `", want KEY=value`
		if err == nil || err.Error() != want {
			t.Errorf("entry %q: got error %v, want %s", entry, err, want)
		}
	}
}
