//go:build vm

package system

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
)

// BenchmarkInstall installs a set of the size of the real one for both
// architectures from a folder, and for comparison copies and hashes the same
// files with cp and sha256sum, one after the other in the same round.
func BenchmarkInstall(b *testing.B) {
	set := makeSizedSet(b, 1, map[bundle.Kind]int{bundle.Kernel: 53 << 20, bundle.Initrd: 24 << 20})
	var names []string
	err := filepath.WalkDir(set.dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	run := func(program string, args ...string) time.Duration {
		start := time.Now()
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", program, err, out)
		}
		return time.Since(start)
	}
	var programs, first, again time.Duration
	for b.Loop() {
		run("sync")
		programs += run("cp", "-r", set.dir, b.TempDir()+"/copy") + run("sha256sum", names...)
		run("sync")
		s := NewStore(b.TempDir(), Options{Sources: []Source{Dir(set.dir)}})
		for _, total := range []*time.Duration{&first, &again} {
			start := time.Now()
			if _, err := s.Install(b.Context(), set.id, "x86_64", "aarch64"); err != nil {
				b.Fatal(err)
			}
			*total += time.Since(start)
		}
	}
	n := float64(b.N)
	b.ReportMetric(programs.Seconds()*1000/n, "cp+sha256sum-ms")
	b.ReportMetric(first.Seconds()*1000/n, "install-ms")
	b.ReportMetric(again.Seconds()*1000/n, "again-ms")
	b.ReportMetric(first.Seconds()/programs.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}
