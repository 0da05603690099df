//go:build vm

package boot

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/vm"
	"github.com/kindling-vm/kindling/vm/rootfs"
)

// forms are initrds to compare: the floor, the one that is shipped, which is not
// compressed, and what else it could be.
var forms = []string{"floor_initrd", "initrd", "initrd_without_headers", "zstd_initrd", "zstd_initrd_without_headers"}

// BenchmarkFirstOutput boots every form in turn, again and again, each round
// beginning with the next one, since what goes before leaves work to the machine.
// It reports the medians of the time from the hypervisor's start to the application's first
// output, and for the shipped one the difference to the floor and their ratio.
// The size is that of guest memory.
func BenchmarkFirstOutput(b *testing.B) {
	for _, memory := range []int{256, 2048} {
		b.Run(fmt.Sprintf("%dMiB", memory), func(b *testing.B) {
			config := &contract.Config{Cmd: []string{"echo", "hello"}}
			times := map[string][]time.Duration{}
			for round := 0; b.Loop(); round++ {
				for i := range forms {
					form := forms[(round+i)%len(forms)]
					o := options{config: config, memory: memory}
					if form != "initrd" {
						o.initrd = initrdFile(b, form)
					}
					times[form] = append(times[form], boot(b, o).firstOutput)
				}
			}
			b.ReportMetric(0, "ns/op") // has no meaning here
			for _, form := range forms {
				b.ReportMetric(median(times[form]).Seconds(), form+"-s")
			}
			floor, ours := median(times["floor_initrd"]), median(times["initrd"])
			b.ReportMetric((ours - floor).Seconds(), "difference-s")
			b.ReportMetric(ours.Seconds()/floor.Seconds(), "ratio")
		})
	}
}

// usualStart has the kernel start the usual machine's shell script, which is no
// executable file.
const usualStart = "rdinit=/bin/sh -- /init.sh"

// BenchmarkTimeToApplication boots the floor, machines with a network, a volume,
// and kernel headers or none, and the same started the usual way, in turn, each
// round beginning with the next one. It reports medians of the time from the kernel's start of the first program to
// the application's first instruction, in milliseconds, and how ours relate to
// the usual ones, both less the floor. It logs the medians of the steps.
func BenchmarkTimeToApplication(b *testing.B) {
	program, err := os.ReadFile(runfile(b, "_main/test/boot/floor/floor_/floor"))
	if err != nil {
		b.Fatal(err)
	}
	config := func(skipHeaders bool) *contract.Config {
		return &contract.Config{
			Cmd: []string{"/floor"}, SkipKernelHeaders: skipHeaders,
			NetworkEnabled: true, GuestIP: "10.0.2.15", GuestCIDR: 24, GuestGateway: "10.0.2.2", GuestDNS: "10.0.2.3",
			VolumeMounts: []contract.VolumeMount{{Device: contract.DiskName(3), Path: "/data"}},
		}
	}
	usual := initrdFile(b, "usual_initrd")
	machines := []struct {
		name    string
		options options
	}{
		{"floor", options{initrd: initrdFile(b, "floor_initrd"), config: config(true)}},
		{"headers", options{config: config(false)}},
		{"no-headers", options{config: config(true)}},
		{"usual", options{initrd: usual, cmdline: usualStart, config: config(false)}},
		{"usual-without-headers", options{initrd: usual, cmdline: usualStart, config: config(true)}},
	}
	times, steps := map[string][]time.Duration{}, map[string][]time.Duration{}
	var console []int
	for round := 0; b.Loop(); round++ {
		for i := range machines {
			m := machines[(round+i)%len(machines)]
			o := m.options
			o.network = true
			o.overlay = 256 << 20 // the usual way unpacks the headers there
			o.image = []v1.Layer{layer(b, map[string][]byte{"floor": program}, file("floor", 0o755))}
			o.attach = func(dir string, disks []vm.Disk) []vm.Disk {
				volume := vm.Disk{Path: filepath.Join(dir, "volume.raw")}
				if err := rootfs.WriteOverlay(volume.Path, rootfs.MinOverlay); err != nil {
					b.Fatal(err)
				}
				return append(disks, volume)
			}
			got := boot(b, o)
			var since int
			if _, err := fmt.Sscanf(got.output, "since /init: %d", &since); err != nil {
				b.Fatalf("%s: output %q: %v\n%s", m.name, got.output, err, got.serial)
			}
			times[m.name] = append(times[m.name], time.Duration(since)*time.Microsecond)
			if m.name == "headers" {
				addSteps(b, steps, got.serial)
				console = append(console, got.consoleBytes())
			}
		}
	}
	b.ReportMetric(0, "ns/op") // has no meaning here
	floor := median(times["floor"])
	less := func(name string) float64 { return (median(times[name]) - floor).Seconds() }
	for _, m := range machines {
		b.ReportMetric(median(times[m.name]).Seconds()*1e3, m.name+"-ms")
	}
	b.ReportMetric(less("headers")*1e3, "headers-minus-floor-ms")
	b.ReportMetric(less("no-headers")*1e3, "no-headers-minus-floor-ms")
	b.ReportMetric(less("headers")/less("usual"), "headers/usual")
	b.ReportMetric(less("no-headers")/less("usual-without-headers"), "no-headers/usual")
	b.ReportMetric(float64(slices.Max(console)), "console-bytes")
	for _, name := range slices.Sorted(maps.Keys(steps)) {
		b.Logf("%-12s %8.1f ms", name, median(steps[name]).Seconds()*1e3)
	}
}

// BenchmarkMemoryKept reports how much of an initrd the guest keeps in its memory
// when the initramfs is freed: what files of tmpfs, which the kernel unpacks it
// into, still hold (Shmem of /proc/meminfo; other files there have some KiB). No
// initrd here is compressed.
func BenchmarkMemoryKept(b *testing.B) {
	set, err := platforms["x86_64"]()
	if err != nil {
		b.Fatal(err)
	}
	for name, initrd := range map[string]string{"initrd": set.Initrd, "initrd_without_headers": initrdFile(b, "initrd_without_headers")} {
		b.Run(name, func(b *testing.B) {
			info, err := os.Stat(initrd)
			if err != nil {
				b.Fatal(err)
			}
			var kib int64
			for b.Loop() {
				got := boot(b, options{initrd: initrd, config: &contract.Config{
					Cmd: []string{"sh", "-c", "until [ -e /run/kindling/boot.json ]; do sleep 0.1; done; grep Shmem: /proc/meminfo"},
				}})
				if _, err := fmt.Sscanf(got.output, "Shmem: %d kB", &kib); err != nil {
					b.Fatalf("output %q: %v\n%s", got.output, err, got.serial)
				}
			}
			b.ReportMetric(0, "ns/op") // has no meaning here
			b.ReportMetric(float64(kib<<10), "kept-bytes")
			b.ReportMetric(float64(kib<<10)/float64(info.Size()), "kept/unpacked")
		})
	}
}

// addSteps adds each step's time of a serial log's boot record.
func addSteps(b *testing.B, steps map[string][]time.Duration, serial string) {
	b.Helper()
	_, line, found := strings.Cut(serial, contract.BootMarker+" ")
	if !found {
		b.Fatalf("no record of the boot in:\n%s", serial)
	}
	line, _, _ = strings.Cut(line, "\r\n")
	for _, field := range strings.Fields(line) {
		name, value, _ := strings.Cut(field, "=")
		us, err := strconv.Atoi(strings.TrimSuffix(value, "!"))
		if err != nil {
			b.Fatalf("step %q: %v", field, err)
		}
		if name != "ready" {
			steps[name] = append(steps[name], time.Duration(us)*time.Microsecond)
		}
	}
}

func initrdFile(b *testing.B, form string) string {
	b.Helper()
	name, err := runfiles.Rlocation("_main/test/boot/" + form + ".cpio")
	if err != nil {
		b.Fatal(err)
	}
	return name
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
