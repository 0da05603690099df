package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/lock"
)

func TestDefault(t *testing.T) {
	w := newWorkspace(t)
	before := w.read(t)
	for _, step := range []struct {
		args []string
		want result
	}{
		{[]string{"debian", "--kernel", "linux"}, result{0, "debian: base busybox, kernel linux\n", ""}},
		{[]string{"a", "--kernel", "linux", "--base", "busybox"}, result{0, "a: base busybox, kernel linux\n", ""}},
	} {
		if diff := cmp.Diff(step.want, w.pin(append([]string{"default"}, step.args...)...)); diff != "" {
			t.Errorf("%q: (-want +got):\n%s", step.args, diff)
		}
	}
	want := map[string]lock.Profile{"a": {Base: "busybox", Kernel: "linux"}, "debian": {Base: "busybox", Kernel: "linux"}}
	if diff := cmp.Diff(want, w.parse(t).Profiles); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	if strings.Contains(before, `"a": {`) || !strings.Contains(w.read(t), `"a": {`) {
		t.Errorf("lock is %s", w.read(t))
	}
}

func TestDefaultRejects(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"debian", "--kernel", "headers"}, "pin: set profile debian: check lock: 2 problems:\n" +
			`  profile debian: kernel is "headers", which is no kernel for aarch64` + "\n" +
			`  profile debian: kernel is "headers", which is no kernel for x86_64` + "\n"},
		{[]string{"new", "--kernel", "linux"}, "pin: set profile new: check lock: profile new: base is missing\n"},
		{[]string{"No", "--kernel", "linux", "--base", "busybox"},
			`pin: set profile No: check lock: profile "No": want a name of lower-case letters, digits, . and -` + "\n"},
	}
	for _, test := range tests {
		w := newWorkspace(t)
		w.requireError(t, result{1, "", test.want}, append([]string{"default"}, test.args...)...)
	}
}
