//go:build vm

package boot

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"

	"github.com/kindling-vm/kindling/guest/contract"
)

// forms are initrds to compare: the floor, the one that is shipped, which is not
// compressed, and what else it could be.
var forms = []string{"floor_initrd", "initrd", "initrd_without_headers", "zstd_initrd", "zstd_initrd_without_headers"}

// BenchmarkFirstOutput boots every form in turn, again and again, and reports the
// medians of the time from the hypervisor's start to the application's first
// output, and for the shipped one the difference to the floor and their ratio.
// The size is that of guest memory.
func BenchmarkFirstOutput(b *testing.B) {
	for _, memory := range []int{256, 2048} {
		b.Run(fmt.Sprintf("%dMiB", memory), func(b *testing.B) {
			config := &contract.Config{Cmd: []string{"echo", "hello"}}
			times := map[string][]time.Duration{}
			for b.Loop() {
				for _, form := range forms {
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
