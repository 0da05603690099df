package contract

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// InitMode says how the application is started.
type InitMode string

const (
	// ModeExec runs entrypoint and cmd as a child of init.
	ModeExec InitMode = "exec"
	// ModeSystemd hands PID 1 over to the image's own init.
	ModeSystemd InitMode = "systemd"
)

// MaxConfigSize bounds the config document, in bytes.
const MaxConfigSize = 4 << 20

// Config is the document on the config disk. Keys that it does not have are
// ignored, since newer hosts may send them.
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
}

// VolumeMount is one volume: the disk Device at Path.
type VolumeMount struct {
	Device        string `json:"device"`
	Path          string `json:"path"`
	Mode          string `json:"mode"` // ro, rw or overlay
	OverlayDevice string `json:"overlay_device,omitempty"`
}

// ReadConfig reads one config document and sets the defaults: exec mode unless
// init_mode is exactly "systemd", working directory "/". A document of more
// than MaxConfigSize bytes, of wrong types, or with anything but white space
// behind it is an error.
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
	if c.InitMode != ModeSystemd {
		c.InitMode = ModeExec
	}
	if c.Workdir == "" {
		c.Workdir = "/"
	}
	return c, nil
}

// Argv is the command: entrypoint, then cmd.
func (c *Config) Argv() []string {
	return slices.Concat(c.Entrypoint, c.Cmd)
}

// Environ is the environment of the application and of the agent as sorted
// KEY=value pairs: Env, with DefaultPath and DefaultHome where it has no PATH
// or HOME.
func (c *Config) Environ() []string {
	env := map[string]string{"PATH": DefaultPath, "HOME": DefaultHome}
	maps.Copy(env, c.Env)
	pairs := make([]string, 0, len(env))
	for _, key := range slices.Sorted(maps.Keys(env)) {
		pairs = append(pairs, key+"="+env[key])
	}
	return pairs
}
