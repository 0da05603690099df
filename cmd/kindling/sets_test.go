package main

import (
	"errors"
	"os"
	"testing"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

func TestDataDir(t *testing.T) {
	t.Setenv("HOME", "/home/user")
	tests := []struct {
		named, xdg string
		uid        int
		want       string
	}{
		{"/srv/sets", "/xdg", 0, "/srv/sets"},
		{"", "/xdg", 0, "/var/lib/kindling"},
		{"", "/xdg", 1000, "/xdg/kindling"},
		{"", "relative", 1000, "/home/user/.local/share/kindling"},
		{"", "", 1000, "/home/user/.local/share/kindling"},
	}
	for _, test := range tests {
		t.Setenv("XDG_DATA_HOME", test.xdg)
		if got, err := dataDir(test.named, test.uid); got != test.want || err != nil {
			t.Errorf("dataDir(%q, %d) with %q = %q, %v, want %q", test.named, test.uid, test.xdg, got, err, test.want)
		}
	}
}

func TestSetExitCode(t *testing.T) {
	corrupt := &system.CorruptError{Path: "a"}
	missing := &system.NotInstalledError{}
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"nothing known", os.ErrInvalid, exitFailed},
		{"missing", missing, exitNotThere},
		{"corrupt and missing", errors.Join(missing, corrupt), exitNotVerified},
		{"storage", &system.StorageError{Err: os.ErrNotExist}, exitStorage},
		{"source", &system.SourceError{Err: os.ErrInvalid}, exitSource},
		{"source without it", &system.SourceError{Err: os.ErrNotExist}, exitNotThere},
		{"unsafe", system.ErrUnsafe, exitNotVerified},
		{"busy", registry.ErrBusy, exitBusy},
		{"no signature", ofRegistry(signature.ErrMissing), exitNotVerified},
		{"registry", ofRegistry(os.ErrInvalid), exitSource},
		{"folder of a pull", ofRegistry(&os.PathError{Err: os.ErrPermission}), exitFailed},
		{"version", system.ErrUnsupportedVersion, exitUnsupported},
		{"architecture", ofRegistry(bundle.ErrUnsupportedArch), exitUnsupported},
	}
	for _, test := range tests {
		if got := setExitCode(test.err); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
