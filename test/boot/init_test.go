//go:build vm

package boot

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bazelbuild/rules_go/go/runfiles"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/agent"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// kernelLine is a line that the kernel has written to the console.
var kernelLine = regexp.MustCompile(`(?m)^\[ *\d+\.\d+\] .*\r?\n`)

// looks are what an application sees of its machine: commands and what each
// prints.
var looks = []struct{ script, want string }{
	{"awk '$5 == \"/\" {n++; fs=$(NF-2)} END {print n, fs}' /proc/self/mountinfo", "1 overlay"},
	{"awk '$2 == \"/dev/pts\" {print $4}' /proc/mounts", "rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666"},
	{"awk '$2 == \"/dev/shm\" {print $3, $4}' /proc/mounts | cut -d, -f1-3", "tmpfs rw,nosuid,nodev"},
	{"awk '$2 == \"/sys/fs/cgroup\" {print $3}' /proc/mounts", "cgroup2"},
	{"cat /proc/self/cgroup", "0::/application"},
	{"stat -c %a /tmp /run /dev/shm | tr '\\n' ' '", "1777 755 1777 "},
	{"for name in fd stdin stdout stderr; do readlink /dev/$name; done | tr '\\n' ' '", "/proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 "},
	{"ls /proc/1/root/ | grep -c '^overlay$'", "0"},
	{"cat /proc/sys/kernel/hostname /etc/hostname | tr '\\n' ' '", "box box "},
	{"grep -c box /etc/hosts", "1"},
	{"cat /sys/class/net/lo/flags", "0x9"}, // IFF_UP, IFF_LOOPBACK
	{"awk '$2 == \"/data\" {print $1, $3}' /proc/mounts; echo kept >/data/file", "/dev/vdd ext4"},
	{"touch '/data/with space' && ls /data | tr '\\n' ' '", "file lost+found with space "},
	{"unshare -Ur id -u 2>&1", "0"},
	{"pwd; echo $HOME", "/\n/root"},
	{"head -c 3 /opt/hypeman/guest-agent | tail -c 2", "EL"},
	// The agent is started again: another process has its name.
	{"until old=$(pidof guest-agent); do sleep 0.1; done; kill -KILL $old; until new=$(pidof guest-agent) && test $new != $old; do sleep 0.1; done; echo again", "again"},
}

// TestRoot has an application look at all that is set up for it, and leave
// processes behind.
func TestRoot(t *testing.T) {
	t.Parallel()
	var script strings.Builder
	for i, look := range looks {
		fmt.Fprintf(&script, "echo '<%d>'; %s; echo '</%d>'\n", i, look.script, i)
	}
	script.WriteString("until [ -e /run/kindling/boot.json ]; do sleep 0.1; done; echo '<json>'; cat /run/kindling/boot.json; echo '</json>'\n" +
		"(trap 'echo asked to end >/data/ended; exit 0' TERM; while :; do sleep 0.1; done) 2>/dev/null & \n" +
		"(trap '' TERM; while :; do sleep 0.1; done) 2>/dev/null & \n" +
		"echo written >/left; echo -n 'no newline'; exit 6\n")
	got := boot(t, options{
		config: &contract.Config{
			Cmd: []string{"sh", "-c", script.String()}, Hostname: "box",
			// A mounted image of them would keep its memory.
			SkipKernelHeaders: true,
			VolumeMounts:      []contract.VolumeMount{{Device: contract.DiskName(3), Path: "/data", Mode: "rw"}, {Device: contract.DiskName(4), Path: "/missing"}},
		},
		attach: func(dir string, disks []vm.Disk) []vm.Disk {
			volume := filepath.Join(dir, "volume.raw")
			if err := rootfs.WriteOverlay(volume, rootfs.MinOverlay); err != nil {
				t.Fatal(err)
			}
			return append(disks, vm.Disk{Path: volume})
		},
	})
	if diff := cmp.Diff(contract.NewExitInfo(6), got.exit); diff != "" {
		t.Errorf("exit information (-want +got):\n%s", diff)
	}
	for i, look := range looks {
		if seen := between(got.output, fmt.Sprintf("<%d>\n", i), fmt.Sprintf("</%d>\n", i)); strings.TrimSuffix(seen, "\n") != look.want {
			t.Errorf("%s\nprints %q, want %q", look.script, seen, look.want)
		}
	}
	checkRecord(t, between(got.output, "<json>\n", "</json>\n"))
	if !strings.HasSuffix(got.output, "no newline") {
		t.Errorf("output ends in %q", got.output[max(0, len(got.output)-40):])
	}
	if !strings.Contains(got.serial, "[hypeman-init:volumes] 1 of 2 volumes are missing") {
		t.Error("log does not tell of the missing volume")
	}
	sentinel := regexp.MustCompile(`^\S+ \[INFO\] \[hypeman-init:entrypoint\] HYPEMAN-EXIT code=6 message="exit code 6"$`)
	if last := lastLine(got.serial); strings.Count(got.serial, contract.ExitMarker) != 1 || !sentinel.MatchString(last) {
		t.Errorf("last line %q, want the one sentinel", last)
	}
	for _, disk := range []vm.Disk{got.disks[1], got.disks[3]} {
		checkClean(t, disk.Path)
	}
	if t.Failed() {
		t.Logf("serial output:\n%s", got.serial)
	}
}

// lastLine is the last line that is not the kernel's.
func lastLine(serial string) string {
	lines := strings.Split(kernelLine.ReplaceAllString(serial, ""), "\r\n")
	return lines[max(0, len(lines)-2)] // the last one has an end
}

func between(text, start, end string) string {
	_, text, _ = strings.Cut(text, start)
	text, _, _ = strings.Cut(text, end)
	return text
}

// checkRecord checks /run/kindling/boot.json.
func checkRecord(t *testing.T, document string) {
	t.Helper()
	var record struct {
		Steps []struct {
			Name  string `json:"name"`
			Start int64  `json:"start_us"`
			Error string `json:"error"`
		} `json:"steps"`
		Ready  int64 `json:"ready_us"`
		Before int64 `json:"mem_available_before_free_kib"`
		After  int64 `json:"mem_available_after_free_kib"`
	}
	if err := json.Unmarshal([]byte(document), &record); err != nil {
		t.Fatalf("parse boot.json: %v\n%s", err, document)
	}
	var last int64
	beside := false // the application
	for _, step := range record.Steps {
		beside = beside || step.Name == "agent"
		if step.Start <= last || (step.Start > record.Ready) != beside || (step.Error != "") != (step.Name == "volumes") {
			t.Errorf("step %+v behind one that started at %d, ready at %d", step, last, record.Ready)
		}
		last = step.Start
	}
	// The headers alone are more than that.
	if freed := record.After - record.Before; freed < 8<<10 {
		t.Errorf("release of the initramfs gave %d KiB back, want more than 8192", freed)
	}
	t.Logf("boot.json: %s", document)
}

// checkClean checks that an ext4 disk was unmounted or made read-only: no
// journal to replay (s_feature_incompat, INCOMPAT_RECOVER) and a valid state
// (s_state; Documentation/filesystems/ext4/super.rst).
func checkClean(t *testing.T, disk string) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	superblock := make([]byte, 256)
	if _, err := f.ReadAt(superblock, 1024); err != nil {
		t.Fatal(err)
	}
	if state, recover := superblock[0x3a]&1, superblock[0x60]&4; state != 1 || recover != 0 {
		t.Errorf("%s is not clean: state %#x, features %#x", filepath.Base(disk), superblock[0x3a], superblock[0x60])
	}
}

// TestOutcomes has machines that end in their own ways.
func TestOutcomes(t *testing.T) {
	static, err := os.ReadFile(runfile(t, onlyProgram))
	if err != nil {
		t.Fatal(err)
	}
	failed := func(text string) contract.ExitInfo {
		return contract.ExitInfo{Code: contract.ExitBootFailed, Message: "boot failed: " + text}
	}
	disks := func(change func(dir string, disks []vm.Disk) error) func(string, []vm.Disk) []vm.Disk {
		return func(dir string, attached []vm.Disk) []vm.Disk {
			if err := change(dir, attached); err != nil {
				t.Fatal(err)
			}
			return attached
		}
	}
	config := &contract.Config{Cmd: []string{"true"}}
	tests := []struct {
		name    string
		options options
		want    contract.ExitInfo
		output  string
	}{
		{"out of memory", options{config: &contract.Config{Cmd: []string{"tail", "/dev/zero"}}}, contract.NewKillInfo(9).OOM(), ""},
		{"exits as if killed", options{config: &contract.Config{Cmd: []string{"sh", "-c", "exit 137"}}}, contract.NewPlainExitInfo(137), ""},
		{"user", options{config: &contract.Config{
			Cmd: []string{"sh", "-c", "id -u; id -g; id -G; echo to stdout >/dev/stdout; touch /x 2>/dev/null || echo $?"}, User: "1000:100", ExitToken: "token",
		}}, contract.NewExitInfo(0), "1000\n100\n100\nto stdout\n1\n"},
		{"unknown user", options{config: &contract.Config{Cmd: []string{"true"}, User: "nobody-knows"}}, failed(`entrypoint: look for user "nobody-knows": not in /etc/passwd of the image`), ""},
		{"one static program", options{
			bare: true, image: []v1.Layer{layer(t, map[string][]byte{"only": static}, file("only", 0o755))},
			config: &contract.Config{Entrypoint: []string{"/only"}},
		}, contract.NewExitInfo(3), "only me\n"},
		{"no shell for a script", options{
			bare: true, image: []v1.Layer{layer(t, map[string][]byte{"script": []byte("exit 0\n")}, file("script", 0o755))},
			config: &contract.Config{Entrypoint: []string{"/script"}},
		}, contract.NewExitInfo(127), ""},
		{"proc is a file", options{config: config, image: []v1.Layer{layer(t, nil, file("proc", 0o644))}}, failed("bind: mount point /overlay/newroot/proc of the image is no directory"), ""},
		{"no etc", options{bare: true, image: []v1.Layer{layer(t, map[string][]byte{"only": static}, file("only", 0o755))}, config: &contract.Config{
			Entrypoint: []string{"/only"}, Hostname: "box", NetworkEnabled: true, GuestIP: "10.0.2.15", GuestCIDR: 24, GuestDNS: "10.0.2.3",
		}}, contract.NewExitInfo(3), "only me\n"},
		{"etc is a file", options{image: []v1.Layer{layer(t, nil, tar.Header{Typeflag: tar.TypeReg, Name: ".wh.etc"}, file("etc", 0o644))}, config: config}, contract.NewExitInfo(0), ""},
		{"root disk is blank", options{config: config, attach: disks(func(_ string, disks []vm.Disk) error {
			return os.WriteFile(disks[0].Path, make([]byte, 1<<20), 0o600)
		})}, failed("overlay: disk /dev/vda has no file system that is known: want erofs, ext4 or squashfs"), ""},
		{"root disk is corrupt", options{config: config, attach: disks(func(_ string, disks []vm.Disk) error {
			f, err := os.OpenFile(disks[0].Path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 4096), 4096) // the group descriptors
			return err
		})}, failed("overlay: mount /dev/vda (ext4) at /lower: structure needs cleaning"), ""},
		{"config disk is another", options{config: config, attach: disks(func(_ string, disks []vm.Disk) error {
			disks[2].Path = disks[0].Path
			return nil
		})}, failed("config: config disk /dev/vdc: open config: open /mnt/config/config.json: no such file or directory"), ""},
		{"no systemd", options{config: &contract.Config{InitMode: contract.ModeSystemd}, bare: true, image: []v1.Layer{layer(t, nil, file("x", 0o644))}},
			failed("systemd: execute /sbin/init: no such file or directory"), ""},
		{"config disk is missing", options{config: config, attach: func(_ string, disks []vm.Disk) []vm.Disk { return disks[:2] }},
			failed("config: disk /dev/vdc is missing: not there after 10s"), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := boot(t, test.options)
			if diff := cmp.Diff(test.want, got.exit); diff != "" {
				t.Errorf("exit information (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.output, got.output); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if token := test.options.config.ExitToken; token != "" {
				if last := lastLine(got.serial); !contract.IsSigned(last, token) {
					t.Errorf("sentinel is not signed: %s", last)
				}
			}
			if t.Failed() {
				t.Logf("serial output:\n%s", got.serial)
			}
		})
	}
}

// onlyProgram is the program of images that have nothing else.
const onlyProgram = "_main/test/boot/only/only_/only"

func runfile(t testing.TB, name string) string {
	t.Helper()
	path, err := runfiles.Rlocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHostileImage has an image that wants init to write elsewhere.
func TestHostileImage(t *testing.T) {
	t.Parallel()
	image := layer(t, nil, link("etc/resolv.conf", "/dev/vdb"), link("etc/hostname", "/proc/sys/kernel/modprobe"), link("opt", "../../../run"))
	got := boot(t, options{
		image: []v1.Layer{image},
		config: &contract.Config{
			Cmd: []string{"sh", "-c", "cat /etc/resolv.conf /etc/hostname /proc/sys/kernel/modprobe; ls -ld /etc/resolv.conf | cut -c1-10; " +
				"until grep -qE 'ready|failed' /run/hypeman/kernel-headers.status; do sleep 0.1; done; ls -1 /run/hypeman | grep -v guest-agent-ready; cat /run/hypeman/kernel-headers.status; " +
				"ls -1 /lib/modules/$(uname -r)/build/ | head -2; " +
				"awk '$3 == \"ext4\" {print $2}' /proc/mounts"},
			NetworkEnabled: true, GuestIP: "10.0.2.15", GuestCIDR: 24, GuestGateway: "10.0.2.2", GuestDNS: "10.0.2.3", Hostname: "box",
			VolumeMounts: []contract.VolumeMount{{Device: contract.DiskName(3), Path: "../../x", Mode: "rw"}},
		},
		attach: func(dir string, disks []vm.Disk) []vm.Disk {
			volume := filepath.Join(dir, "volume.raw")
			if err := rootfs.WriteOverlay(volume, rootfs.MinOverlay); err != nil {
				t.Fatal(err)
			}
			return append(disks, vm.Disk{Path: volume})
		},
	})
	want := "nameserver 10.0.2.3\nbox\n/sbin/modprobe\n-rw-r--r--\nguest-agent\nkernel-headers.status\nready\nMakefile\nModule.symvers\n/x\n"
	if diff := cmp.Diff(want, got.output); diff != "" || got.exit.Code != 0 {
		t.Errorf("exit %v, output (-want +got):\n%s\nserial output:\n%s", got.exit, diff, got.serial)
	}
}

// TestReaper has an application with 10,000 short children of any exit code,
// some of which leave 32 orphans to init.
func TestReaper(t *testing.T) {
	t.Parallel()
	static, err := os.ReadFile(runfile(t, onlyProgram))
	if err != nil {
		t.Fatal(err)
	}
	got := boot(t, options{
		bare: true, image: []v1.Layer{layer(t, map[string][]byte{"only": static}, file("only", 0o755))},
		config: &contract.Config{Cmd: []string{"/only", "10000"}},
	})
	if want := "10000 right, no zombies\n"; got.output != want || got.exit != contract.NewExitInfo(42) {
		t.Errorf("got %q, %v, want %q, %v\nserial output:\n%s", got.output, got.exit, want, contract.NewExitInfo(42), got.serial)
	}
}

// TestFullDisk starts a machine again whose application has filled its disk.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	first := boot(t, options{config: &contract.Config{Cmd: []string{"sh", "-c", "dd if=/dev/zero of=/full bs=4k 2>/dev/null; df / | awk 'END {print $4}'"}}})
	if want := "0\n"; first.output != want {
		t.Errorf("filled: got %q, want %q\nserial output:\n%s", first.output, want, first.serial)
	}
	second := boot(t, options{
		config: &contract.Config{Cmd: []string{"sh", "-c", "ls -s /full >/dev/null && echo runs; exit 4"}, Workdir: "/not/there"},
		attach: func(_ string, disks []vm.Disk) []vm.Disk { return append(first.disks[:2:2], disks[2]) },
	})
	// The overlay is read-only where not even its own folder has found room.
	const start = "boot failed: entrypoint: make working directory: mkdir /not: "
	reason, found := strings.CutPrefix(second.exit.Message, start)
	if second.exit.Code != contract.ExitBootFailed || !found || reason != "no space left on device" && reason != "read-only file system" {
		t.Errorf("ended with %v, want code %d, %sno space left on device\nserial output:\n%s", second.exit, contract.ExitBootFailed, start, second.serial)
	}
}

// TestHandOver has a shell in the place of systemd, which leaves the end to init
// as systemd does.
func TestHandOver(t *testing.T) {
	t.Parallel()
	const script = `echo pid $$ $SECRET; stat -c %a /etc/hypeman/env; cat /etc/hypeman/env
ls /etc/systemd/system/multi-user.target.wants; awk '$2 == "/run" {print $3}' /proc/mounts; ls /run/kindling
exec -a /shutdown /run/initramfs/shutdown poweroff`
	got := boot(t, options{config: &contract.Config{
		InitMode: contract.ModeSystemd, Entrypoint: []string{"/bin/sh", "-c", script}, Env: map[string]string{"SECRET": "a b"},
	}})
	want := "pid 1 a b\n600\nHOME=/root\nPATH=" + contract.DefaultPath + "\nSECRET='a b'\nhypeman-agent.service\ntmpfs\nboot.json\n"
	if diff := cmp.Diff(want, kernelLine.ReplaceAllString(got.output, "")); diff != "" || got.exit != contract.NewExitInfo(0) {
		t.Errorf("exit %v, output (-want +got):\n%s\nserial output:\n%s", got.exit, diff, got.serial)
	}
	checkClean(t, got.disks[1].Path)
}

// TestShutdown checks that the host's Shutdown ends the application.
func TestShutdown(t *testing.T) {
	t.Parallel()
	got := boot(t, options{
		config: &contract.Config{Cmd: []string{"sleep", "600"}},
		running: func(ctx context.Context, vsock string) {
			client, err := agent.NewHybridClient(vsock)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			}()
			if err := client.WaitReady(ctx); err != nil {
				t.Fatal(err)
			}
			if err := client.Shutdown(ctx, agent.ShutdownOptions{}); err != nil {
				t.Error(err)
			}
		},
	})
	if diff := cmp.Diff(contract.NewKillInfo(15), got.exit); diff != "" {
		t.Errorf("exit information (-want +got):\n%s", diff)
	}
}

// TestNetwork has a machine with an interface, which reaches a server of the
// host's through its gateway.
func TestNetwork(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from the host")
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	got := boot(t, options{
		network: true,
		config: &contract.Config{
			Cmd:            []string{"sh", "-c", "ip -4 -o addr show eth0 | awk '{print $4}'; ip route show default | grep default; cat /etc/resolv.conf; wget -qO- http://10.0.2.2:" + port},
			NetworkEnabled: true, GuestIP: "10.0.2.15", GuestCIDR: 24, GuestGateway: "10.0.2.2", GuestDNS: "10.0.2.3",
			SkipKernelHeaders: true, SkipGuestAgent: true,
		},
	})
	want := "10.0.2.15/24\ndefault via 10.0.2.2 dev eth0 onlink \nnameserver 10.0.2.3\nfrom the host"
	if diff := cmp.Diff(want, got.output); diff != "" || got.exit.Code != 0 {
		t.Errorf("exit %v, output (-want +got):\n%s\nserial output:\n%s", got.exit, diff, got.serial)
	}
}
