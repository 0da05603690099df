package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	const unpinned = "pin: warning: busybox aarch64 is not pinned\npin: warning: linux aarch64 is not pinned\npin: warning: linux x86_64 is not pinned\n"
	evil := strings.Replace(busybox, "ELF!", "EVIL", 1)
	differs := fmt.Sprintf("check busybox x86_64: http://mirror.example/debian/%s: got SHA-256 %s (%d bytes), want %s (%[3]d bytes)\n",
		debPath, sumOf(evil), len(busybox), sumOf(busybox))
	tests := []struct {
		name   string
		args   []string
		change func(w *workspace)
		want   result
	}{
		{"all", nil, nil, result{0, "busybox x86_64: same\nheaders all: same\n", unpinned}},
		{"some", []string{"headers"}, nil, result{0, "headers all: same\n", ""}},
		{"one differs", nil, func(w *workspace) { w.web["mirror.example/debian/"+debPath] = evil },
			result{1, "headers all: same\n", unpinned + "pin: " + differs}},
		{"several differ", nil, func(w *workspace) {
			w.web["mirror.example/debian/"+debPath] = evil
			w.web["two.example/headers.tar.gz"] = "x"
		}, result{1, "", unpinned + "pin: " + differs +
			"check headers all: " + mirrorURL + ": got SHA-256 " + sumOf("x") + " (1 bytes), want " + sumOf(headers) + "\n"}},
		{"one is not there", []string{"headers"}, func(w *workspace) { delete(w.web, "two.example/headers.tar.gz") },
			result{1, "", "pin: check headers all: fetch " + mirrorURL + ": server says 404 Not Found\n"}},
		{"one is not pinned", []string{"linux"}, nil,
			result{1, "", "pin: check linux aarch64: it is not pinned; update pins it\ncheck linux x86_64: it is not pinned; update pins it\n"}},
		{"unknown", []string{"headers", "linus"}, nil, result{1, "", "pin: artifact linus is not there; there are busybox, headers, linux\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorkspace(t)
			if test.change != nil {
				test.change(w)
			}
			before := w.read(t)
			if diff := cmp.Diff(test.want, w.pin(append([]string{"check"}, test.args...)...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if w.read(t) != before {
				t.Error("lock has changed")
			}
			w.requireClean(t)
		})
	}
}
