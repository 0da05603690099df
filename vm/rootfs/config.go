package rootfs

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
)

// GuestConfig maps an image's configuration to the guest's: entrypoint, cmd, user,
// working directory ("/" where the image has none), environment and init mode.
// Of an environment variable that stands there more than once, the last value
// counts; an entry that is not KEY=value is an error. The contract has no place
// for the image's stop signal, which is for who stops the machine, and volumes.
func GuestConfig(image v1.Config) (*contract.Config, error) {
	config := &contract.Config{
		Entrypoint: slices.Clone(image.Entrypoint),
		Cmd:        slices.Clone(image.Cmd),
		User:       image.User,
		Workdir:    image.WorkingDir,
		Env:        map[string]string{},
		InitMode:   contract.ModeExec,
	}
	if config.Workdir == "" {
		config.Workdir = "/"
	}
	for _, entry := range image.Env {
		key, value, ok := strings.Cut(entry, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("map image configuration: environment entry %q, want KEY=value", entry)
		}
		config.Env[key] = value
	}
	if IsSystemdImage(image.Entrypoint, image.Cmd) {
		config.InitMode = contract.ModeSystemd
	}
	return config, nil
}
