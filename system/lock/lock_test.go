package lock

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// canonical has an artifact of every shape.
const canonical = `{
  "version": 1,
  "profiles": {
    "debian": {
      "base": "busybox",
      "kernel": "linux"
    }
  },
  "artifacts": [
    {
      "name": "busybox",
      "arch": "aarch64",
      "kind": "base",
      "version": "1:1.35.0-4+b1",
      "license": "GPL-2.0-only",
      "sha256": "1111111111111111111111111111111111111111111111111111111111111111",
      "size": 1,
      "package": "busybox-static",
      "path": "pool/main/b/busybox/busybox-static_1.35.0-4+b1_arm64.deb"
    },
    {
      "name": "busybox",
      "arch": "x86_64",
      "kind": "base",
      "version": "1:1.35.0-4+b1",
      "license": "GPL-2.0-only",
      "sha256": "2222222222222222222222222222222222222222222222222222222222222222",
      "size": 22,
      "package": "busybox-static",
      "path": "pool/main/b/busybox/busybox-static_1.35.0-4+b1_amd64.deb"
    },
    {
      "name": "headers",
      "arch": "all",
      "kind": "headers",
      "version": "6.1",
      "license": "GPL-2.0-only WITH Linux-syscall-note",
      "sha256": "3333333333333333333333333333333333333333333333333333333333333333",
      "urls": [
        "https://one.example/<a&b>/headers.tar.gz",
        "https://two.example/mirror/headers.tar.gz"
      ]
    },
    {
      "name": "headers-own",
      "arch": "x86_64",
      "kind": "headers",
      "version": "6.1",
      "license": "GPL-2.0-only",
      "urls": [
        "https://one.example/own.tar.gz"
      ]
    },
    {
      "name": "linux",
      "arch": "aarch64",
      "kind": "kernel",
      "version": "6.1",
      "license": "GPL-2.0-only",
      "urls": [
        "https://one.example/Image"
      ]
    },
    {
      "name": "linux",
      "arch": "x86_64",
      "kind": "kernel",
      "version": "6.1",
      "license": "GPL-2.0-only",
      "urls": [
        "https://one.example/vmlinux"
      ],
      "headers": [
        "headers",
        "headers-own"
      ]
    }
  ]
}
`

func parse(t *testing.T) *Lock {
	t.Helper()
	l, err := Parse([]byte(canonical))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCanonicalForm(t *testing.T) {
	got, err := parse(t).MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(canonical, string(got)); diff != "" {
		t.Errorf("canonical form (-want +got):\n%s", diff)
	}
	odd := strings.NewReplacer("\n", "\r\n\t", `"size": 22`, `"size":22`).Replace(canonical)
	l, err := Parse([]byte(odd))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t), l); diff != "" {
		t.Errorf("other white space (-want +got):\n%s", diff)
	}
}

func TestLookup(t *testing.T) {
	l := parse(t)
	l.Lookup("linux", "x86_64").SHA256 = "set"
	tests := []struct {
		name, arch string
		file       string // "" wants none
		pinned     bool
	}{
		{"busybox", "aarch64", "busybox-static_1.35.0-4+b1_arm64.deb", true},
		{"headers", "all", "headers.tar.gz", true},
		{"headers", "x86_64", "", false},
		{"linux", "aarch64", "Image", false},
		{"linux", "x86_64", "vmlinux", true},
		{"linux", "", "", false},
	}
	for _, test := range tests {
		artifact := l.Lookup(test.name, test.arch)
		if artifact == nil {
			if test.file != "" {
				t.Errorf("%s %s: found nothing", test.name, test.arch)
			}
			continue
		}
		if got := artifact.FileName(); got != test.file || artifact.Pinned() != test.pinned {
			t.Errorf("%s %s: got file %q, pinned %v, want %q, %v", test.name, test.arch, got, artifact.Pinned(), test.file, test.pinned)
		}
	}
}

func TestMarshalCanonicalRejects(t *testing.T) {
	tests := []struct {
		name   string
		change func(l *Lock)
		want   string
	}{
		{"order", func(l *Lock) { l.Artifacts[0], l.Artifacts[1] = l.Artifacts[1], l.Artifacts[0] },
			"artifact 1 (busybox aarch64): want artifacts in the order of name, then arch"},
		{"size without digest", func(l *Lock) { l.Lookup("linux", "aarch64").Size = 4 },
			"artifact 4 (linux aarch64): size is of no use without sha256"},
		{"no profiles", func(l *Lock) { l.Profiles = nil }, "lock: profiles is empty"},
		{"negative size", func(l *Lock) { l.Artifacts[0].Size = -1 },
			"artifact 0 (busybox aarch64): size is -1, want a positive integer"},
		{"bytes that are no UTF-8", func(l *Lock) { l.Artifacts[0].Version = "1\xff" },
			`artifact 0 (busybox aarch64): version is "1\xff", want printable ASCII with no space around it`},
		{"empty URL", func(l *Lock) { l.Artifacts[5].URLs = []string{""} },
			`artifact 5 (linux x86_64): urls has "", want https`},
		{"name of profile", func(l *Lock) { l.Profiles["\xff"] = l.Profiles["debian"] },
			`profile "\xff": want a name of lower-case letters, digits, . and -`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := parse(t)
			test.change(l)
			got, err := l.MarshalCanonical()
			if problems, ok := errors.AsType[*ProblemsError](err); !ok || got != nil {
				t.Fatalf("got %s, error %v, want problems", got, err)
			} else if diff := cmp.Diff([]string{test.want}, problems.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
