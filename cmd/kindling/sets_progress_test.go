package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTransfers(t *testing.T) {
	now := time.Unix(0, 0)
	for _, test := range []struct {
		how, want string
	}{
		{"auto", "\rvmlinux: 0.0 of 0.0 MiB\x1b[K\rvmlinux: 0.0 of 0.0 MiB\x1b[K\r\x1b[Kkindling: done\n"},
		{"plain", "kindling: vmlinux: 50 of 100 bytes\nkindling: vmlinux: 100 bytes\nkindling: done\n"},
		{"json", `{"file":"vmlinux","done":50,"total":100}` + "\n" + `{"file":"vmlinux","done":100,"total":100}` + "\n"},
		{"quiet", ""},
	} {
		var out strings.Builder
		tr := &transfers{w: &out, how: test.how, now: func() time.Time { return now }, last: now, started: now, done: map[string]bool{}}
		tr.report("vmlinux", 10, 100) // too early
		now = now.Add(plainInterval)
		tr.report("vmlinux", 50, 100)
		tr.report("vmlinux", 60, 100)
		tr.report("vmlinux", 100, 100)
		tr.report("vmlinux", 100, 100)
		tr.end("done")
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.how, diff)
		}
	}
}
