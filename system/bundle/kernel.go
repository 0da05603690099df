package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// KernelDescriptionVersion is the version of the schema of kernel.json.
const KernelDescriptionVersion = 1

// KernelDescription is kernel.json: what the kernel beside it is, and what was
// checked of it when the set was built.
type KernelDescription struct {
	Version int    `json:"version"`
	Arch    string `json:"arch"`    // x86_64 or aarch64
	Release string `json:"release"` // uname -r
	Banner  string `json:"banner"`  // compiler and build as /proc/version has them
	Format  string `json:"format"`  // elf or arm64-image
	// PVH tells that an ELF kernel has the note by which it is entered: owner
	// Xen, type 18.
	PVH         bool     `json:"pvh"`
	Hypervisors []string `json:"hypervisors"` // those that load the file as it is
	Modules     bool     `json:"modules"`     // whether it came with modules
	// ConfigSource is where the configuration is from: the package, the image
	// (CONFIG_IKCONFIG), or none, when nothing of it could be checked.
	ConfigSource string   `json:"configSource"`
	ConfigSHA256 string   `json:"configSha256,omitempty"`
	Features     []string `json:"features"` // of kernel_requirements.json, all of whose symbols are set
}

// Marshal gives the description as it stands in kernel.json.
func (d *KernelDescription) Marshal() ([]byte, error) {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(d)
	return data.Bytes(), err
}

// ParseKernelDescription reads kernel.json. Unknown keys are ignored: later
// versions of the tools may say more.
func ParseKernelDescription(data []byte) (*KernelDescription, error) {
	var d KernelDescription
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("parse kernel description: %w", err)
	}
	if d.Version != KernelDescriptionVersion {
		return nil, fmt.Errorf("kernel description has version %d, want %d", d.Version, KernelDescriptionVersion)
	}
	if d.Arch == "" || d.Release == "" {
		return nil, fmt.Errorf("kernel description lacks arch or release")
	}
	return &d, nil
}
