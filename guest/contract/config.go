package contract

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// InitMode says how the application is started.
type InitMode string

const (
	// ModeExec runs entrypoint and cmd as a child of init.
	ModeExec InitMode = "exec"
	// ModeSystemd hands PID 1 over to the image's own init.
	ModeSystemd InitMode = "systemd"
)

// Modes of a volume.
const (
	VolumeReadWrite = "rw"
	VolumeReadOnly  = "ro"      // without journal recovery, so that machines can share the disk
	VolumeOverlay   = "overlay" // Device below a writable layer on OverlayDevice
	VolumeNFS       = "nfs"     // NFSExport of NFSHost; no disk
)

// MaxConfigSize bounds the config document, in bytes.
const MaxConfigSize = 4 << 20

// Config is the document on the config disk. Keys that it does not have are
// ignored, since newer hosts may send them. Fields behind EnableRosetta are our
// own; hosts that know nothing of them lose nothing.
type Config struct {
	Entrypoint        []string          `json:"entrypoint"`
	Cmd               []string          `json:"cmd"`
	Workdir           string            `json:"workdir"`
	Env               map[string]string `json:"env"`
	NetworkEnabled    bool              `json:"network_enabled"`
	GuestIP           string            `json:"guest_ip,omitempty"`
	GuestCIDR         int               `json:"guest_cidr,omitempty"` // prefix length
	GuestGateway      string            `json:"guest_gw,omitempty"`
	GuestDNS          string            `json:"guest_dns,omitempty"` // one IPv4 server
	VolumeMounts      []VolumeMount     `json:"volume_mounts,omitempty"`
	InitMode          InitMode          `json:"init_mode"`
	SkipKernelHeaders bool              `json:"skip_kernel_headers,omitempty"`
	SkipGuestAgent    bool              `json:"skip_guest_agent,omitempty"`

	// Of hosts later than 0.0.7.
	EgressProxy   *EgressProxy `json:"egress_proxy,omitempty"`
	EnableRosetta bool         `json:"enable_rosetta,omitempty"`

	GuestIP6      string   `json:"guest_ip6,omitempty"`
	GuestCIDR6    int      `json:"guest_cidr6,omitempty"` // prefix length
	GuestGateway6 string   `json:"guest_gw6,omitempty"`
	DNSServers    []string `json:"guest_dns_servers,omitempty"` // behind GuestDNS, IPv4 or IPv6
	MTU           int      `json:"guest_mtu,omitempty"`         // 0: the interface's own
	Hostname      string   `json:"hostname,omitempty"`
	// User is the application's user as in an image's configuration: name or
	// number, with :group or without. Empty is root.
	User string `json:"user,omitempty"`
	// ExitToken keys the MAC of the exit sentinel. Root in the guest can read
	// it, so it holds against applications of other users only.
	ExitToken string `json:"exit_token,omitempty"`
	// AgentToken is what callers of the agent must show, for hosts whose other
	// users can reach the machine's socket. Empty is nothing.
	AgentToken string `json:"agent_token,omitempty"`

	// Notes tell, for people, of values without a meaning and what stands in
	// for them.
	Notes []string `json:"-"`
}

// VolumeMount is one volume: the disk Device at Path.
type VolumeMount struct {
	Device        string `json:"device"`
	Path          string `json:"path"`
	Mode          string `json:"mode"`
	OverlayDevice string `json:"overlay_device,omitempty"`
	NFSHost       string `json:"nfs_host,omitempty"`
	NFSExport     string `json:"nfs_export,omitempty"`
}

// EgressProxy is the proxy that the application's traffic goes through.
type EgressProxy struct {
	Enabled   bool   `json:"enabled"`
	ProxyURL  string `json:"proxy_url"`
	CACertPEM string `json:"ca_cert_pem,omitempty"`
}

// ReadConfig reads one config document and replaces what has no meaning, each
// with a note:
//
//	init_mode     but exec and systemd       exec (empty: without a note)
//	workdir       empty, relative            /, below / (without a note)
//	env           key empty or with = or NUL,
//	              value with NUL             left out
//	volume mode   but rw, ro, overlay, nfs   rw (empty: without a note)
//
// A document of more than MaxConfigSize bytes, of wrong types, or with anything
// but white space behind it is an error.
func ReadConfig(r io.Reader) (*Config, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxConfigSize+1))
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	if len(data) > MaxConfigSize {
		return nil, fmt.Errorf("read config: more than %d bytes", MaxConfigSize)
	}
	var c *Config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("parse config: %w", err)
	}
	if c == nil {
		return nil, fmt.Errorf("parse config: document is null")
	}
	c.settle()
	return c, nil
}

func (c *Config) settle() {
	note := func(format string, args ...any) { c.Notes = append(c.Notes, fmt.Sprintf(format, args...)) }
	switch c.InitMode {
	case ModeExec, ModeSystemd:
	default:
		if c.InitMode != "" {
			note("init_mode %.64q is unknown, taken for %q", string(c.InitMode), ModeExec)
		}
		c.InitMode = ModeExec
	}
	c.Workdir = path.Join("/", c.Workdir)
	for _, key := range slices.Sorted(maps.Keys(c.Env)) {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(c.Env[key], "\x00") {
			// The value may be a secret.
			note("env %.64q cannot be a variable, left out", key)
			delete(c.Env, key)
		}
	}
	for i := range c.VolumeMounts {
		v := &c.VolumeMounts[i]
		switch v.Mode {
		case VolumeReadWrite, VolumeReadOnly, VolumeOverlay, VolumeNFS:
		default:
			if v.Mode != "" {
				note("mode %.64q of volume %.64q is unknown, taken for %q", v.Mode, v.Path, VolumeReadWrite)
			}
			v.Mode = VolumeReadWrite
		}
	}
}

// Argv is the command: entrypoint, then cmd.
func (c *Config) Argv() []string {
	return slices.Concat(c.Entrypoint, c.Cmd)
}

// Environ is the environment of the application and of the agent as sorted
// KEY=value pairs: Env, with DefaultPath and home, or DefaultHome where that is
// empty, where it has no PATH or HOME.
func (c *Config) Environ(home string) []string {
	if home == "" {
		home = DefaultHome
	}
	env := map[string]string{"PATH": DefaultPath, "HOME": home}
	maps.Copy(env, c.Env)
	pairs := make([]string, 0, len(env))
	for _, key := range slices.Sorted(maps.Keys(env)) {
		pairs = append(pairs, key+"="+env[key])
	}
	return pairs
}
