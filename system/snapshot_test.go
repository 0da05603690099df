package system

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSnapshotRecord(t *testing.T) {
	set := makeSet(t, 1)
	got, err := install(t, set).Resolve(t.Context(), set.id, "")
	if err != nil {
		t.Fatal(err)
	}
	record := got.Snapshot("console=ttyS0 quiet", Hypervisor{"cloud-hypervisor", "v49.0"})
	data, err := record.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseSnapshot(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(record, parsed); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	good := string(data)
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", "parse snapshot record: EOF"},
		{"unknown key", strings.Replace(good, `"arch"`, `"x": 1, "arch"`, 1), `parse snapshot record: json: unknown field "x"`},
		{"key twice", strings.Replace(good, `"arch"`, `"Arch": "x", "arch"`, 1), `parse snapshot record: key "arch" stands twice`},
		{"two documents", good + good, "parse snapshot record: more than one document"},
		{"version", strings.Replace(good, `"version": 1`, `"version": 2`, 1), "snapshot record has version 2, want 1"},
		{"ID", strings.Replace(good, "sha256:", "sha256:../", 1), "snapshot record: artifact set "},
		{"kernel", strings.Replace(good, "linux-6.1", "../linux-6.1", 1), "snapshot record: kernel "},
		{"digest", strings.Replace(good, record.InitrdSHA256, "AB", 1), `snapshot record has SHA-256 "AB"`},
		{"hypervisor", strings.Replace(good, "v49.0", "", 1), "snapshot record lacks "},
	} {
		if _, err := ParseSnapshot([]byte(test.in)); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestCompatible(t *testing.T) {
	ch := Hypervisor{"cloud-hypervisor", "v49.0"}
	set := Set{ID: "sha256:a", Arch: "x86_64", AgentProtocol: "p", KernelVersion: "v", KernelSHA256: "k", InitrdSHA256: "i"}
	recorded := set.Snapshot("", ch)
	change := func(change func(*Set)) *Set {
		changed := set
		change(&changed)
		return &changed
	}
	for _, test := range []struct {
		name       string
		with       *Set
		hypervisor Hypervisor
		restore    []string // what differs
		boot       []string
	}{
		{"the same", &set, ch, nil, nil},
		{"another set with the same files", change(func(s *Set) { s.ID = "sha256:b" }), ch, nil, nil},
		{"kernel", change(func(s *Set) { s.KernelSHA256 = "l" }), ch, []string{"kernel"}, nil},
		{"initrd", change(func(s *Set) { s.InitrdSHA256 = "j" }), ch, []string{"initrd"}, nil},
		{"hypervisor", &set, Hypervisor{"cloud-hypervisor", "v50.0"}, []string{"hypervisor"}, nil},
		{"arch", change(func(s *Set) { s.Arch = "aarch64" }), ch, []string{"arch"}, []string{"arch"}},
		{"agent", change(func(s *Set) { s.AgentProtocol, s.InitrdSHA256 = "q", "j" }), ch, []string{"initrd"}, []string{"agent protocol"}},
	} {
		for use, want := range map[Use][]string{Restore: test.restore, MaintenanceBoot: test.boot} {
			var got []string
			err := Compatible(use, recorded, test.with, test.hypervisor)
			if incompatible, ok := errors.AsType[*IncompatibleError](err); ok {
				for _, difference := range incompatible.Differences {
					got = append(got, difference.What)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", test.name, use, diff)
			}
		}
	}
	err := Compatible(Restore, recorded, &set, Hypervisor{"qemu", "10"})
	const want = "restore of an instance of artifact set sha256:a: hypervisor is qemu 10, recorded is cloud-hypervisor v49.0"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	if err := Compatible("dance", recorded, &set, ch); err == nil {
		t.Error("unknown use: no error")
	}
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add([]byte(`{"version": 1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSnapshot(data)
		if err != nil {
			return
		}
		again, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSnapshot(again); err != nil {
			t.Errorf("marshalled form does not parse: %v", err)
		}
	})
}
