package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readTimeline reads a timeline and checks that it is the form of its name.
func readTimeline(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if filepath.Ext(name) == ".json" {
		err = json.Unmarshal(data, &document)
	} else {
		err = xml.Unmarshal(data, &struct {
			XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		}{})
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, data)
	}
	return string(data)
}

func TestRunTimeline(t *testing.T) {
	tests := []struct {
		name, serial string
		args         []string
		code         int
		drawn        []string
	}{
		{"success", exited("hi\r\n", 0), nil, 0, []string{"root disk", "power off", "first output"}},
		{"application that fails", exited("hi\r\n", 7), nil, 7, []string{"root disk", "power off", "first output"}},
		{"boot that fails", sentinel(78, "boot failed: overlay: no disk") + powered, nil, 125, []string{"root disk", "power off"}},
		{"no image", "", []string{"./none.tar"}, 125, []string{"artifact set", "image"}},
	}
	for _, test := range tests {
		for _, suffix := range []string{".svg", ".json"} {
			t.Run(test.name+suffix, func(t *testing.T) {
				h := newHost(t)
				t.Setenv(serialEnv, test.serial)
				name := filepath.Join(t.TempDir(), "boot"+suffix)
				if got := kindling(append([]string{"run", "--timeline", name}, test.args...)...); got.Code != test.code {
					t.Errorf("got %+v, want code %d", got, test.code)
				}
				got := readTimeline(t, name)
				for _, want := range test.drawn {
					if !strings.Contains(got, want) {
						t.Errorf("got\n%s\nwant %q in it", got, want)
					}
				}
				h.requireReleased(t)
			})
		}
	}
}

func TestRunTimelineFails(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, exited("", 7))
	got := kindling("run", "--timeline", filepath.Join(t.TempDir(), "none", "boot.svg"))
	if got.Code != 7 || !strings.HasPrefix(got.Stderr, "kindling: command ended with exit code 7\nwrite timeline: ") {
		t.Errorf("got %+v, want the command's code and why there is no timeline", got)
	}
	h.requireReleased(t)
}

func TestRunDetachedTimeline(t *testing.T) {
	h := newHost(t)
	t.Setenv(serialEnv, upAndRunning)
	t.Setenv(stoppedEnv, "bye\r\n"+sentinel(3, "exit code 3"))
	name := filepath.Join(t.TempDir(), "boot.svg")
	runDetached(t, "--timeline", name, "--", "app")
	if diff := cmp.Diff(result{0, "web\n", ""}, kindling("stop", "web")); diff != "" {
		t.Errorf("stop (-want +got):\n%s", diff)
	}
	if got := readTimeline(t, name); !strings.Contains(got, "power off") {
		t.Errorf("got\n%s\nwant the machine's end in it", got)
	}
	h.programs.AwaitGone(t)
	h.requireReleased(t)
}
