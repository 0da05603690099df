package contract

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fields has a document for every key, its value's meaning and a value of
// another type.
var fields = []struct {
	key, value, wrong string
	want              func(*Config)
}{
	{"entrypoint", `["/bin/a","b c"]`, `"/bin/a"`, func(c *Config) { c.Entrypoint = []string{"/bin/a", "b c"} }},
	{"cmd", `["", "-x"]`, `[1]`, func(c *Config) { c.Cmd = []string{"", "-x"} }},
	{"workdir", `"srv/../w"`, `["/"]`, func(c *Config) { c.Workdir = "/w" }},
	{"env", `{"K":"v=w"}`, `["K=v"]`, func(c *Config) { c.Env = map[string]string{"K": "v=w"} }},
	{"network_enabled", `true`, `"true"`, func(c *Config) { c.NetworkEnabled = true }},
	{"guest_ip", `"10.0.2.15"`, `10`, func(c *Config) { c.GuestIP = "10.0.2.15" }},
	{"guest_cidr", `24`, `"24"`, func(c *Config) { c.GuestCIDR = 24 }},
	{"guest_gw", `"10.0.2.2"`, `false`, func(c *Config) { c.GuestGateway = "10.0.2.2" }},
	{"guest_dns", `"1.1.1.1"`, `["1.1.1.1"]`, func(c *Config) { c.GuestDNS = "1.1.1.1" }},
	{"volume_mounts", `[{"device":"/dev/vdd","path":"/data","mode":"overlay","overlay_device":"/dev/vde","later":1},
		{"device":"","path":"/n","mode":"nfs","nfs_host":"h","nfs_export":"/e"}]`, `{"device":"/dev/vdd"}`, func(c *Config) {
		c.VolumeMounts = []VolumeMount{
			{Device: "/dev/vdd", Path: "/data", Mode: VolumeOverlay, OverlayDevice: "/dev/vde"},
			{Path: "/n", Mode: VolumeNFS, NFSHost: "h", NFSExport: "/e"},
		}
	}},
	{"init_mode", `"systemd"`, `1`, func(c *Config) { c.InitMode = ModeSystemd }},
	{"skip_kernel_headers", `true`, `1`, func(c *Config) { c.SkipKernelHeaders = true }},
	{"skip_guest_agent", `true`, `"yes"`, func(c *Config) { c.SkipGuestAgent = true }},
	{"egress_proxy", `{"enabled":true,"proxy_url":"http://p","ca_cert_pem":"PEM"}`, `true`, func(c *Config) {
		c.EgressProxy = &EgressProxy{Enabled: true, ProxyURL: "http://p", CACertPEM: "PEM"}
	}},
	{"enable_rosetta", `true`, `"no"`, func(c *Config) { c.EnableRosetta = true }},
	{"guest_ip6", `"fd00::2"`, `6`, func(c *Config) { c.GuestIP6 = "fd00::2" }},
	{"guest_cidr6", `64`, `6.4`, func(c *Config) { c.GuestCIDR6 = 64 }},
	{"guest_gw6", `"fd00::1"`, `6`, func(c *Config) { c.GuestGateway6 = "fd00::1" }},
	{"guest_dns_servers", `["9.9.9.9","fd00::1"]`, `"9.9.9.9"`, func(c *Config) { c.DNSServers = []string{"9.9.9.9", "fd00::1"} }},
	{"guest_mtu", `1400`, `"1400"`, func(c *Config) { c.MTU = 1400 }},
	{"hostname", `"box"`, `{}`, func(c *Config) { c.Hostname = "box" }},
	{"user", `"1000:100"`, `1000`, func(c *Config) { c.User = "1000:100" }},
	{"exit_token", `"t"`, `7`, func(c *Config) { c.ExitToken = "t" }},
	{"agent_token", `"t"`, `7`, func(c *Config) { c.AgentToken = "t" }},
}

func TestReadConfigFields(t *testing.T) {
	for _, field := range fields {
		want := Config{Workdir: "/", InitMode: ModeExec}
		field.want(&want)
		document := fmt.Sprintf(`{"%s": %s}`, field.key, field.value)
		got, err := ReadConfig(strings.NewReader(document))
		if err != nil {
			t.Errorf("%s: %v", document, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", document, diff)
		}
		// null is the zero value, as hosts write of Go's nil.
		got, err = ReadConfig(strings.NewReader(fmt.Sprintf(`{"%s": null}`, field.key)))
		if diff := cmp.Diff(&Config{Workdir: "/", InitMode: ModeExec}, got); diff != "" || err != nil {
			t.Errorf("%s null: %v, (-want +got):\n%s", field.key, err, diff)
		}
		document = fmt.Sprintf(`{"%s": %s}`, field.key, field.wrong)
		if _, err := ReadConfig(strings.NewReader(document)); err == nil || !strings.Contains(err.Error(), "parse config: json: cannot unmarshal") {
			t.Errorf("%s: got error %v, want one of types", document, err)
		}
	}
}

// TestFieldsAreAll checks that no field was forgotten above.
func TestFieldsAreAll(t *testing.T) {
	var want, got []string
	for field := range reflect.TypeFor[Config]().Fields() {
		if key, _, _ := strings.Cut(field.Tag.Get("json"), ","); key != "-" {
			want = append(want, key)
		}
	}
	for _, field := range fields {
		got = append(got, field.key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestReadConfigSettles(t *testing.T) {
	tests := []struct {
		name, in string
		want     Config
	}{
		{"defaults", `{}`, Config{Workdir: "/", InitMode: ModeExec}},
		{"unknown keys, other case", ` {"new_key":[1],"CMD":["x"]} `, Config{Cmd: []string{"x"}, Workdir: "/", InitMode: ModeExec}},
		{"the last one of equal keys", `{"workdir":"/a","workdir":"/b"}`, Config{Workdir: "/b", InitMode: ModeExec}},
		{"unknown init mode", `{"init_mode":"Systemd"}`, Config{Workdir: "/", InitMode: ModeExec,
			Notes: []string{`init_mode "Systemd" is unknown, taken for "exec"`}}},
		{"variables that cannot be", `{"env":{"":"a","B=C":"d","N\u0000":"e","V":"\u0000","OK":""}}`, Config{Workdir: "/", InitMode: ModeExec,
			Env: map[string]string{"OK": ""}, Notes: []string{
				`env "" cannot be a variable, left out`, `env "B=C" cannot be a variable, left out`,
				`env "N\x00" cannot be a variable, left out`, `env "V" cannot be a variable, left out`,
			}}},
		{"volume modes", `{"volume_mounts":[{"path":"/a"},{"path":"/b","mode":"RO"}]}`, Config{Workdir: "/", InitMode: ModeExec,
			VolumeMounts: []VolumeMount{{Path: "/a", Mode: "rw"}, {Path: "/b", Mode: "rw"}},
			Notes:        []string{`mode "RO" of volume "/b" is unknown, taken for "rw"`}}},
		{"leaves the root", `{"workdir":"../../etc"}`, Config{Workdir: "/etc", InitMode: ModeExec}},
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

func FuzzReadConfig(f *testing.F) {
	f.Add(`{"env":{"A":"b"},"volume_mounts":[{}],"init_mode":"x"}`)
	f.Fuzz(func(t *testing.T, document string) {
		c, err := ReadConfig(strings.NewReader(document))
		if err != nil {
			return
		}
		if c.InitMode != ModeExec && c.InitMode != ModeSystemd || !strings.HasPrefix(c.Workdir, "/") {
			t.Errorf("ReadConfig(%q) = %+v", document, c)
		}
	})
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
		home string
		want []string
	}{
		{"none", nil, "", []string{"HOME=/root", "PATH=" + DefaultPath}},
		{"own values win, even empty", map[string]string{"PATH": "", "HOME": "/h", "B": "x=y", "A": "a b\n"}, "/other",
			[]string{"A=a b\n", "B=x=y", "HOME=/h", "PATH="}},
		{"home of a user", nil, "/home/u", []string{"HOME=/home/u", "PATH=" + DefaultPath}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := Config{Env: test.env}
			if diff := cmp.Diff(test.want, c.Environ(test.home)); diff != "" {
				t.Errorf("Environ (-want +got):\n%s", diff)
			}
		})
	}
}
