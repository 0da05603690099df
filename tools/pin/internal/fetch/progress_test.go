package fetch

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/tools/pin/internal/fetch/fetchtest"
)

func TestProgress(t *testing.T) {
	tests := []struct {
		name     string
		terminal bool
		total    int64
		want     string
	}{
		{"plain", false, 30e6, `linux: 15.0 MB of 30.0 MB, 50%
linux: server says 503; attempt 2 of 6 in 1s
linux: 30.0 MB of 30.0 MB, 100%
`},
		{"plain, size unknown", false, -1, `linux: 15.0 MB
linux: server says 503; attempt 2 of 6 in 1s
linux: 30.0 MB
`},
		{"terminal", true, 30e6, `<linux: 0.3 MB of 30.0 MB, 1%<linux: 15.0 MB of 30.0 MB, 50%<linux: server says 503; attempt 2 of 6 in 1s
<linux: 30.0 MB of 30.0 MB, 100%<`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			p := Progress{W: &out, Terminal: test.terminal}
			p.start(fetchtest.Noon, "https://me:pass@a.example/b/linux?key=secret")
			p.add(fetchtest.Noon.Add(99*time.Millisecond), 1e5, test.total)
			p.add(fetchtest.Noon.Add(100*time.Millisecond), 3e5, test.total)
			p.add(fetchtest.Noon.Add(5*time.Second), 15e6, test.total)
			p.say("%s", "server says 503; attempt 2 of 6 in 1s")
			p.add(fetchtest.Noon.Add(10*time.Second), 30e6, test.total)
			p.end()
			p.end()
			if diff := cmp.Diff(test.want, strings.ReplaceAll(out.String(), clearLine, "<")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	var silent Progress
	silent.start(fetchtest.Noon, "https://a.example/b")
	silent.add(fetchtest.Noon.Add(time.Hour), 1, 2)
	silent.say("nothing")
	silent.end()
}
