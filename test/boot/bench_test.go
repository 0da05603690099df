//go:build vm

package boot

import (
	"slices"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"

	"github.com/kindling-vm/kindling/guest/contract"
)

// BenchmarkFirstOutput boots the floor and the initrd in turn and reports the
// medians of the time from the hypervisor's start to the application's first
// output, their difference and ratio.
func BenchmarkFirstOutput(b *testing.B) {
	floor, err := runfiles.Rlocation("_main/test/boot/floor_initrd.cpio")
	if err != nil {
		b.Fatal(err)
	}
	config := &contract.Config{Cmd: []string{"echo", "hello"}}
	var floors, ours []time.Duration
	for b.Loop() {
		floors = append(floors, boot(b, options{config: config, initrd: floor}).firstOutput)
		ours = append(ours, boot(b, options{config: config}).firstOutput)
	}
	floorTime, ourTime := median(floors), median(ours)
	b.ReportMetric(0, "ns/op") // has no meaning here
	b.ReportMetric(floorTime.Seconds(), "floor-s")
	b.ReportMetric(ourTime.Seconds(), "initrd-s")
	b.ReportMetric((ourTime - floorTime).Seconds(), "difference-s")
	b.ReportMetric(ourTime.Seconds()/floorTime.Seconds(), "ratio")
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
