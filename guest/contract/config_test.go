package contract

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadConfig(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want Config
	}{
		{
			name: "defaults",
			in:   `{}`,
			want: Config{Workdir: "/", InitMode: ModeExec},
		},
		{
			name: "every field",
			in: `{"entrypoint":["/bin/a"],"cmd":["b"],"workdir":"/w","env":{"K":"v"},"network_enabled":true,
				"guest_ip":"10.0.2.15","guest_cidr":24,"guest_gw":"10.0.2.2","guest_dns":"1.1.1.1",
				"volume_mounts":[{"device":"/dev/vdd","path":"/data","mode":"overlay","overlay_device":"/dev/vde"}],
				"init_mode":"systemd","skip_kernel_headers":true,"skip_guest_agent":true}`,
			want: Config{
				Entrypoint: []string{"/bin/a"}, Cmd: []string{"b"}, Workdir: "/w", Env: map[string]string{"K": "v"},
				NetworkEnabled: true, GuestIP: "10.0.2.15", GuestCIDR: 24, GuestGateway: "10.0.2.2", GuestDNS: "1.1.1.1",
				VolumeMounts: []VolumeMount{{Device: "/dev/vdd", Path: "/data", Mode: "overlay", OverlayDevice: "/dev/vde"}},
				InitMode:     ModeSystemd, SkipKernelHeaders: true, SkipGuestAgent: true,
			},
		},
		{
			name: "unknown keys, other case, nulls, unknown mode",
			in:   ` {"new_key":[1],"CMD":["x"],"entrypoint":null,"env":null,"init_mode":"Systemd"} `,
			want: Config{Cmd: []string{"x"}, Workdir: "/", InitMode: ModeExec},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadConfig(strings.NewReader(test.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("ReadConfig(%q) (-want +got):\n%s", test.in, diff)
			}
		})
	}
}

func TestReadConfigRejects(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", "", "parse config: unexpected end of JSON input"},
		{"null", "null", "parse config: document is null"},
		{"wrong type", `{"cmd":"echo"}`, "parse config: json: cannot unmarshal string"},
		{"fraction", `{"guest_cidr":2.5}`, "parse config: json: cannot unmarshal number 2.5"},
		{"more behind it", `{} {}`, "parse config: invalid character '{' after top-level value"},
		{"too large", `{"workdir":"` + strings.Repeat("a", MaxConfigSize) + `"}`, "read config: more than 4194304 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadConfig(strings.NewReader(test.in))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

func TestEnviron(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want []string
	}{
		{"none", nil, []string{"HOME=/root", "PATH=" + DefaultPath}},
		{"own values win, even empty", map[string]string{"PATH": "", "HOME": "/h", "B": "x=y", "A": "a b\n"},
			[]string{"A=a b\n", "B=x=y", "HOME=/h", "PATH="}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := Config{Env: test.env}
			if diff := cmp.Diff(test.want, c.Environ()); diff != "" {
				t.Errorf("Environ (-want +got):\n%s", diff)
			}
		})
	}
}
