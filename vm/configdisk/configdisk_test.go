package configdisk

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/contract"
)

// config has text that a careless encoder changes.
var config = &contract.Config{
	Entrypoint:   []string{"/bin/sh", "-c"},
	Workdir:      "/w",
	Env:          map[string]string{"B": "<&>", "A": "ünïcode\n\"\\ufffd�", "C": ""},
	GuestCIDR:    24,
	VolumeMounts: []contract.VolumeMount{{Device: "/dev/vdd", Path: "/data", Mode: "ro"}},
	InitMode:     contract.ModeExec,
}

const document = `{
  "entrypoint": [
    "/bin/sh",
    "-c"
  ],
  "cmd": null,
  "workdir": "/w",
  "env": {
    "A": "ünïcode\n\"\\ufffd�",
    "B": "<&>",
    "C": ""
  },
  "network_enabled": false,
  "guest_cidr": 24,
  "volume_mounts": [
    {
      "device": "/dev/vdd",
      "path": "/data",
      "mode": "ro"
    }
  ],
  "init_mode": "exec"
}
`

func write(t *testing.T, c *contract.Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.ext4")
	if err := Write(path, c); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrite(t *testing.T) {
	path := write(t, config)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != MinSize || info.Mode() != 0o600 {
		t.Errorf("got size %d, mode %v, want %d, 0600", info.Size(), info.Mode(), MinSize)
	}
	if got := info.Sys().(*syscall.Stat_t).Blocks * 512; got > MinSize/2 {
		t.Errorf("disk occupies %d bytes, want a sparse one", got)
	}
	super, err := tar2ext4.ReadExt4SuperBlock(path)
	if err != nil {
		t.Fatal(err)
	}
	if super.LogBlockSize != 2 || super.FeatureCompat&0x4 != 0 {
		t.Errorf("got block size %d, compatible features %#x, want 4096, no journal", 1024<<super.LogBlockSize, super.FeatureCompat)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(disk, []byte(document))
	if at < 0 || at%4096 != 0 || disk[at+len(document)] != 0 {
		t.Errorf("document found at %d, want it at the start of a block and nothing behind it", at)
	}
	again, err := os.ReadFile(write(t, config))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(disk, again) {
		t.Error("two disks of one configuration differ")
	}
	back, err := contract.ReadConfig(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config, back); diff != "" {
		t.Errorf("configuration read back (-want +got):\n%s", diff)
	}
}

func TestWriteReplaces(t *testing.T) {
	path := write(t, config)
	if err := Write(path, &contract.Config{Workdir: "/other"}); err != nil {
		t.Fatal(err)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(disk, []byte(`"workdir": "/other"`)) || bytes.Contains(disk, []byte("/dev/vdd")) {
		t.Error("disk was not replaced as a whole")
	}
}

func TestWriteLargest(t *testing.T) {
	empty, err := encode(&contract.Config{})
	if err != nil {
		t.Fatal(err)
	}
	fits := &contract.Config{Workdir: strings.Repeat("w", contract.MaxConfigSize-len(empty))}
	write(t, fits)
	fits.Workdir += "w"
	path := filepath.Join(t.TempDir(), "config.ext4")
	err = Write(path, fits)
	const want = "write config disk: encode config: 4194305 bytes, want at most 4194304"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("disk is there: %v", err)
	}
}

func TestWriteRejects(t *testing.T) {
	tests := []struct {
		name string
		c    contract.Config
		want string
	}{
		{"value", contract.Config{Env: map[string]string{"A": "x", "SECRET": "s3cret\xff"}}, `environment variable "SECRET" is not UTF-8`},
		{"key", contract.Config{Env: map[string]string{"K\xff": "x"}}, `"K\xff" is not UTF-8`},
		{"argument", contract.Config{Cmd: []string{"\xff"}}, `"\xff" is not UTF-8`},
		{"mount", contract.Config{VolumeMounts: []contract.VolumeMount{{Path: "/\xff"}}}, `"/\xff" is not UTF-8`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Write(filepath.Join(t.TempDir(), "config.ext4"), &test.c)
			want := "write config disk: encode config: " + test.want
			if err == nil || err.Error() != want {
				t.Errorf("got error %v, want %s", err, want)
			}
		})
	}
}
