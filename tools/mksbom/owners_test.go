package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/mtree"
)

func TestOwners(t *testing.T) {
	f := newFixture(t)
	args := append(without(f.args(), "--owner=base", "--segment=base"),
		"--segment=base="+f.write("base.mtree", `#mtree
. type=dir mode=0700 uid=0 gid=0
./a type=dir mode=0755 uid=0 gid=0
./a/x type=link mode=0777 uid=0 gid=0 link=a
./a/y type=dir mode=0755 uid=0 gid=0
./a/y/z type=link mode=0777 uid=0 gid=0 link=b
./ab type=link mode=0777 uid=0 gid=0 link=c
./etc type=dir mode=0755 uid=0 gid=0
`), "--owner=base:/a/x=busybox", "--owner=base:/a/y=linux", "--owner=base:/ab=source")
	opts, err := parse(append(args, "--sbom=x", "--provenance=x"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := gather(opts)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for ref, entries := range c.owned {
		for _, e := range entries {
			got[ref] = append(got[ref], e.Path)
		}
	}
	want := map[string][]string{
		"artifact:busybox":        {"a/x"},
		"artifact:headers":        {"usr/src/headers"},
		"artifact:headers-common": {"usr/src/common/a.h"},
		"artifact:linux":          {"a/y/z", "etc/modules"},
		"program:/init":           {"init"},
		"program:/usr/bin/agent":  {"usr/bin/agent"},
		"source":                  {"ab"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owned (-want +got):\n%s", diff)
	}
}

// FuzzSegment checks that of any listing each file and link goes to one component
// or the whole is refused.
func FuzzSegment(f *testing.F) {
	for _, seed := range []string{baseListing, modulesListing, headersListing, programsListing} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, listing string) {
		fixture := &fixture{t, t.TempDir()}
		c := &contents{image: &image{}}
		err := c.readSegments(&options{
			segments: []pair{{"base", fixture.write("base", listing)}},
			owners:   []owner{{"base", "bin", imageRef}, {"base", "usr/src", sourceRef}},
		})
		if err != nil {
			return
		}
		entries, err := mtree.Parse(strings.NewReader(listing))
		if err != nil {
			t.Fatal(err)
		}
		left := map[string]int{}
		for _, e := range entries {
			if e.Type != "dir" {
				left[e.Path]++
			}
		}
		for _, owned := range c.owned {
			for _, e := range owned {
				left[e.Path]--
			}
		}
		for path, count := range left {
			if count != 0 {
				t.Errorf("/%s has %d components, want 1", path, 1-count)
			}
		}
	})
}
