package rootfs

import "testing"

func TestIsSystemdImage(t *testing.T) {
	tests := []struct {
		entrypoint, cmd []string
		want            bool
	}{
		{nil, []string{"/sbin/init"}, true},
		{nil, []string{"/lib/systemd/systemd"}, true},
		{[]string{"/usr/lib/systemd/systemd"}, nil, true},
		{[]string{"/sbin/init"}, []string{"--log-level=info", "x"}, true},
		{[]string{}, []string{"/sbin/init", "3"}, true},
		{nil, nil, false},
		{[]string{""}, []string{"/sbin/init"}, false},
		{[]string{"/tini", "--"}, []string{"/sbin/init"}, false},
		{nil, []string{"/usr/sbin/init"}, false},
		{nil, []string{"init"}, false},
		{nil, []string{"./init"}, false},
		{nil, []string{"systemd"}, false},
		{nil, []string{"/bin/systemd"}, false},
		{nil, []string{"/sbin//init"}, false},
		{nil, []string{"/sbin/init "}, false},
		{nil, []string{"/SBIN/init"}, false},
	}
	for _, test := range tests {
		if got := IsSystemdImage(test.entrypoint, test.cmd); got != test.want {
			t.Errorf("IsSystemdImage(%q, %q) = %v, want %v", test.entrypoint, test.cmd, got, test.want)
		}
	}
}
