package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigureInitramfs(t *testing.T) {
	tests := []struct {
		name, err string
		kernels   []string
	}{
		{name: "one kernel", kernels: []string{"6.12.1-cloud-amd64"}},
		{name: "no kernel", err: "find kernel for mkinitramfs: got 0, want one"},
		{name: "two kernels", kernels: []string{"6.1", "6.12"}, err: "find kernel for mkinitramfs: got 2, want one"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range []string{"lib/modules", "etc/initramfs-tools/conf.d", "etc/initramfs-tools/hooks"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, kernel := range test.kernels {
				if err := os.Mkdir(filepath.Join(root, "lib/modules", kernel), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			kernel, err := configureInitramfs(root, []string{"loop", "erofs"})
			if got := errorText(err); got != test.err {
				t.Fatalf("error %q, want %q", got, test.err)
			}
			if err != nil {
				return
			}
			if kernel != test.kernels[0] {
				t.Errorf("kernel is %q, want %q", kernel, test.kernels[0])
			}
			modules, err := os.ReadFile(filepath.Join(root, "etc/initramfs-tools/modules"))
			if err != nil || string(modules) != "loop\nerofs\n" {
				t.Errorf("modules are %q, error %v", modules, err)
			}
			hook, err := os.Stat(filepath.Join(root, "etc/initramfs-tools/hooks/bench"))
			if err != nil || hook.Mode()&0o100 == 0 {
				t.Errorf("hook is %v, error %v, want a program", hook, err)
			}
		})
	}
	if _, err := configureInitramfs(t.TempDir(), nil); err == nil {
		t.Error("no error for a root without modules")
	}
}

func TestModuleNames(t *testing.T) {
	got := moduleNames([]string{"bin/sh", "lib/modules/6.1/kernel/drivers/block/virtio_blk.ko", "lib/modules/6.1/modules.dep", "lib/modules/6.1/loop.ko"})
	if diff := cmp.Diff([]string{"virtio_blk", "loop"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestDistribution(t *testing.T) {
	s := &assembly{bench: &bench{dir: t.TempDir()}, mkinitrd: "mkinitrd"}
	f, err := s.distribution(s.path("one"), []string{"bin/sh"}, []contender{{name: "join"}}, &initramfsTools{root: s.path("root"), kernel: "6.12"})
	if err != nil {
		t.Fatal(err)
	}
	params, err := os.ReadFile(s.path("one.all"))
	if want := "--binary=/init=" + s.path("one/init") + "\n--file=/bin/sh=" + s.path("one/bin/sh") + "\n"; err != nil || string(params) != want {
		t.Errorf("flags are %q, error %v, want %q", params, err, want)
	}
	var names []string
	for _, c := range f.contenders {
		names = append(names, c.name)
	}
	if diff := cmp.Diff([]string{"kindling, files", "join", "mkinitramfs, zstd -1"}, names); diff != "" {
		t.Errorf("contenders (-want +got):\n%s", diff)
	}
	got, err := f.summarize(rows{
		{Name: "kindling, files", Unit: "s", Values: []float64{1}},
		{Name: "mkinitramfs, zstd -1", Unit: "s", Values: []float64{60}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []verdict{{Text: "time of kindling, files / mkinitramfs, zstd -1", Bound: 1.0 / 60, Got: spreadOf([]float64{1.0 / 60}), Met: true}}
	if diff := cmp.Diff(want, got.Levels); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
}
