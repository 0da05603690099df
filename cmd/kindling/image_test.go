package main

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// TestCommandOfSystemdImage has commands in place of an image's systemd.
func TestCommandOfSystemdImage(t *testing.T) {
	newHost(t)
	ref := pushChanged(t, "systemd:1", func(config *v1.ConfigFile) {
		config.Config.Entrypoint, config.Config.Cmd = nil, []string{"/sbin/init"}
	})
	image, err := rootfs.Load(t.Context(), ref, v1.Platform{OS: "linux", Architecture: "amd64"}, rootfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		argv []string
		want contract.InitMode
	}{
		{nil, contract.ModeSystemd},
		{[]string{"/lib/systemd/systemd", "--log-level=debug"}, contract.ModeSystemd},
		{[]string{"ls", "/"}, contract.ModeExec},
	} {
		config, err := guestConfig(image, test.argv)
		if err != nil {
			t.Fatal(err)
		}
		if config.InitMode != test.want {
			t.Errorf("%q: mode is %q, want %q", test.argv, config.InitMode, test.want)
		}
	}
}
