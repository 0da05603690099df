//go:build vm

package boot

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
)

// drivers stand in for NVIDIA's modules: they need each other and have the
// devices and the parameter that init counts on.
var drivers = map[string]string{
	"nvidia": `
static const struct file_operations operations = { .owner = THIS_MODULE };
int nvidia_stand_in(void) { return 0; }
EXPORT_SYMBOL_GPL(nvidia_stand_in);
static int start(void) { return register_chrdev(195, "nvidia", &operations); }
static void stop(void) { unregister_chrdev(195, "nvidia"); }`,
	"nvidia-uvm": `
static const struct file_operations operations = { .owner = THIS_MODULE };
extern int nvidia_stand_in(void);
static int major;
static int start(void) { major = register_chrdev(0, "nvidia-uvm", &operations); return major < 0 ? major : nvidia_stand_in(); }
static void stop(void) { unregister_chrdev(major, "nvidia-uvm"); }`,
	"nvidia-modeset": `
extern int nvidia_stand_in(void);
int nvidia_modeset_stand_in(void) { return nvidia_stand_in(); }
EXPORT_SYMBOL_GPL(nvidia_modeset_stand_in);
static int start(void) { return 0; }
static void stop(void) { }`,
	"nvidia-drm": `
extern int nvidia_modeset_stand_in(void);
static bool modeset;
module_param(modeset, bool, 0444);
static int start(void) { return nvidia_modeset_stand_in(); }
static void stop(void) { }`,
}

const (
	driverStart = "#include <linux/module.h>\n#include <linux/fs.h>\n"
	driverEnd   = "\nmodule_init(start);\nmodule_exit(stop);\nMODULE_LICENSE(\"GPL\");\n"
)

// debianImage is a Debian with systemd and a compiler, and with the drivers'
// sources.
func debianImage(t *testing.T) []v1.Layer {
	t.Helper()
	debian, err := tarball.LayerFromFile(runfile(t, "_main/test/debian/layer.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	static, err := os.ReadFile(runfile(t, onlyProgram))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{
		"bundle/rootfs/only": static,
		// Without it systemd asks who is at the console.
		"etc/machine-id": {},
		"src/Makefile":   []byte("obj-m := nvidia.o nvidia-uvm.o nvidia-modeset.o nvidia-drm.o\n"),
	}
	headers := []tar.Header{file("bundle/rootfs/only", 0o755), file("etc/machine-id", 0o444), file("src/Makefile", 0o644)}
	for name, source := range drivers {
		content["src/"+name+".c"] = []byte(driverStart + source + driverEnd)
		headers = append(headers, file("src/"+name+".c", 0o644))
	}
	return []v1.Layer{debian, layer(t, content, headers...)}
}

// TestDebian runs a Debian whose init is systemd. At its first start it compiles
// modules with its own compiler, which init loads at the second one.
func TestDebian(t *testing.T) {
	t.Parallel()
	const (
		units = `systemctl is-system-running --wait; systemctl is-active multi-user.target hypeman-agent.service; cat /proc/1/comm`
		ready = "running\nactive\nactive\nsystemd\n"
	)
	firstLooks := []struct{ script, want string }{
		{units, ready},
		{`until grep -qE 'ready|failed' /run/hypeman/kernel-headers.status; do sleep 0.1; done; cat /run/hypeman/kernel-headers.status`, "ready\n"},
		{`make -s CC=gcc-12 -C /lib/modules/$(uname -r)/build M=/src modules 2>&1 | grep -vE 'BTF|^$'; ls /src/*.ko`,
			"/src/nvidia-drm.ko\n/src/nvidia-modeset.ko\n/src/nvidia-uvm.ko\n/src/nvidia.ko\n"},
		{`insmod /src/nvidia.ko && grep nvidia /proc/devices; rmmod nvidia`, "195 nvidia\n"},
		{`mkdir -p /lib/modules/$(uname -r)/updates && cp /src/*.ko /lib/modules/$(uname -r)/updates && depmod 2>/dev/null; echo $?`, "0\n"},
		// A container in the guest: runc changes the root by pivot_root.
		{`cd /bundle && runc spec && sed -i 's/"terminal": true/"terminal": false/; s|"sh"|"/only"|' config.json && runc run box; echo $?`, "only me\n3\n"},
	}
	secondLooks := []struct{ script, want string }{
		{units, ready},
		{`cut -d' ' -f1 /proc/modules | grep nvidia | sort`, "nvidia\nnvidia_drm\nnvidia_modeset\nnvidia_uvm\n"},
		{`cat /sys/module/nvidia_drm/parameters/modeset; stat -c '%a %t' /dev/nvidiactl`, "Y\n666 c3\n"},
		{`cat /run/hypeman/kernel-headers.status; test -e /lib/modules/$(uname -r)/build/Makefile && echo there`, "ready\nthere\n"},
	}
	config := &contract.Config{InitMode: contract.ModeSystemd, Entrypoint: []string{"/lib/systemd/systemd"}, Hostname: "box"}
	run := func(looks []struct{ script, want string }) func(context.Context, string) {
		return func(ctx context.Context, vsock string) {
			client, err := agent.NewHybridClient(vsock)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			}()
			waiting, cancel := context.WithTimeout(ctx, 4*time.Minute)
			defer cancel()
			if err := client.WaitReady(waiting); err != nil {
				serial, readErr := os.ReadFile(filepath.Join(filepath.Dir(vsock), serialName))
				t.Fatalf("%v, %v; serial output:\n%s", err, readErr, serial)
			}
			for _, look := range looks {
				var out bytes.Buffer
				if _, err := client.Exec(ctx, agent.ExecOptions{Command: []string{"sh", "-c", look.script}, Stdout: &out, Stderr: &out}); err != nil {
					t.Errorf("%s: %v", look.script, err)
				}
				if diff := cmp.Diff(look.want, out.String()); diff != "" {
					t.Errorf("%s\n(-want +got):\n%s", look.script, diff)
				}
			}
			if err := client.Shutdown(ctx, agent.ShutdownOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
	check := func(which string, m machine) {
		if m.exit != contract.NewExitInfo(0) {
			t.Errorf("%s start ended with %v", which, m.exit)
		}
		checkClean(t, m.disks[1].Path)
		if t.Failed() {
			t.Fatalf("%s start, serial output:\n%s", which, m.serial)
		}
	}
	first := boot(t, options{memory: 512, timeout: 7 * time.Minute, config: config, image: debianImage(t), bare: true, overlay: 256 << 20, running: run(firstLooks)})
	check("first", first)
	second := boot(t, options{
		memory: 512, timeout: 7 * time.Minute, config: config, bare: true, cmdline: "kindling.gpu_vendor=0x1af4",
		attach:  func(_ string, disks []vm.Disk) []vm.Disk { return append(first.disks[:2:2], disks[2]) },
		running: run(secondLooks),
	})
	check("second", second)
	gpu := fmt.Sprintf("loaded %s of the image, made nvidiactl, nvidia-modeset, nvidia-uvm, nvidia-uvm-tools", "nvidia, nvidia-uvm, nvidia-modeset, nvidia-drm")
	if !strings.Contains(second.serial, gpu) {
		t.Errorf("log does not say %q:\n%s", gpu, second.serial)
	}
}
