package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/mtree"
)

func TestComponents(t *testing.T) {
	f := newFixture(t)
	document := f.make(f.args())
	components := byRef(t, document)
	digest := strings.Repeat("1", 64)
	for ref, want := range map[string]string{
		"artifact:busybox": fmt.Sprintf(`{
 "bom-ref": "artifact:busybox",
 "type": "application",
 "name": "busybox-static",
 "version": "1:1.35.0-4+deb12u1+b1",
 "hashes": [
  {
   "alg": "SHA-256",
   "content": %q
  }
 ],
 "licenses": [
  {
   "expression": "GPL-2.0-only"
  }
 ],
 "purl": "pkg:deb/debian/busybox-static@1:1.35.0-4%%2Bdeb12u1%%2Bb1?arch=amd64",
 "externalReferences": [
  {
   "url": "pool/main/b/busybox/busybox-static_1.35.0-4+deb12u1+b1.deb",
   "comment": "below a Debian mirror",
   "type": "distribution"
  }
 ],
 "properties": [
  {
   "name": "kindling:kind",
   "value": "base"
  },
  {
   "name": "kindling:artifact",
   "value": "busybox"
  }
 ],
 "components": [
  {
   "type": "file",
   "name": "/bin/[",
   "properties": [
    {
     "name": "kindling:link",
     "value": "busybox"
    }
   ]
  },
  {
   "type": "file",
   "name": "/bin/busybox",
   "hashes": [
    {
     "alg": "SHA-256",
     "content": %q
    }
   ]
  }
 ]
}`, digest, strings.Repeat("a", 64)),
		"program:/init": fmt.Sprintf(`{
 "bom-ref": "program:/init",
 "type": "application",
 "name": "github.com/kindling-vm/kindling/guest/init",
 "version": "v1.2.3",
 "purl": "pkg:golang/github.com/kindling-vm/kindling@v1.2.3#guest/init",
 "components": [
  {
   "type": "file",
   "name": "/init",
   "hashes": [
    {
     "alg": "SHA-256",
     "content": %q
    }
   ]
  }
 ]
}`, sha256Of(f.read("init"))),
		"module:golang.org/x/sys@v0.49.0": fmt.Sprintf(`{
 "bom-ref": "module:golang.org/x/sys@v0.49.0",
 "type": "library",
 "name": "golang.org/x/sys",
 "version": "v0.49.0",
 "purl": "pkg:golang/golang.org/x/sys@v0.49.0",
 "properties": [
  {
   "name": "kindling:go-sum",
   "value": %q
  }
 ]
}`, sumA),
		"stdlib:1.26.8": `{
 "bom-ref": "stdlib:1.26.8",
 "type": "library",
 "name": "stdlib",
 "version": "1.26.8",
 "purl": "pkg:golang/stdlib@1.26.8"
}`,
		"file:vmlinux": fmt.Sprintf(`{
 "bom-ref": "file:vmlinux",
 "type": "file",
 "name": "vmlinux",
 "hashes": [
  {
   "alg": "SHA-256",
   "content": %q
  }
 ],
 "properties": [
  {
   "name": "kindling:kind",
   "value": "kernel"
  }
 ]
}`, sha256Of([]byte("vmlinux"))),
	} {
		if diff := cmp.Diff(want, components[ref]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ref, diff)
		}
	}
	got := map[string]string{}
	for _, d := range *document.Dependencies {
		got[d.Ref] = ""
		if d.Dependencies != nil {
			got[d.Ref] = strings.Join(*d.Dependencies, " ")
		}
	}
	want := map[string]string{
		"set":              "file:base.tar file:headers.tar file:initrd.cpio file:kernel.json file:vmlinux",
		"file:base.tar":    "artifact:busybox",
		"file:headers.tar": "artifact:headers artifact:headers-common",
		"file:initrd.cpio": "artifact:busybox artifact:headers artifact:headers-common artifact:linux " +
			"program:/init program:/usr/bin/agent",
		"file:vmlinux":     "artifact:linux",
		"file:kernel.json": "artifact:linux",
		"artifact:busybox": "", "artifact:headers": "", "artifact:headers-common": "", "artifact:linux": "",
		"program:/init":                           "module:golang.org/x/sys@v0.49.0 stdlib:1.26.8",
		"program:/usr/bin/agent":                  "module:github.com/mdlayher/vsock@v1.4.0 module:golang.org/x/sys@v0.49.0 stdlib:1.26.8",
		"module:golang.org/x/sys@v0.49.0":         "",
		"module:github.com/mdlayher/vsock@v1.4.0": "",
		"stdlib:1.26.8":                           "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dependencies (-want +got):\n%s", diff)
	}
}

func TestSources(t *testing.T) {
	image := "registry.example/library/base"
	digest := strings.Repeat("2", 64)
	source := func(f *fixture) []string {
		listing := f.write("files.mtree", "#mtree\n./motd type=link mode=0777 uid=0 gid=0 link=x\n")
		return append(f.args(), "--segment=files="+listing, "--owner=files:/motd=source")
	}
	tests := []struct {
		name, ref string
		args      func(*fixture) []string
		want      cyclonedx.Component
	}{
		{"image", "image", (*fixture).imageArgs, cyclonedx.Component{
			BOMRef: "image", Type: cyclonedx.ComponentTypeContainer, Name: image, Version: "sha256:" + digest, Hashes: hashes(digest),
			PackageURL: "pkg:oci/base@sha256:" + digest + "?repository_url=registry.example%2Flibrary%2Fbase",
			Properties: properties("layer", "sha256:"+strings.Repeat("4", 64), "layer", "sha256:"+strings.Repeat("3", 64)),
		}},
		{"URL", "artifact:rootfs", (*fixture).rootfsArgs, cyclonedx.Component{
			BOMRef: "artifact:rootfs", Type: cyclonedx.ComponentTypeApplication, Name: "rootfs", Version: "3.22.5",
			Hashes: hashes(strings.Repeat("1", 64)), Licenses: &cyclonedx.Licenses{{Expression: "MIT AND GPL-2.0-only"}},
			PackageURL: "pkg:generic/rootfs@3.22.5?arch=x86_64&checksum=sha256:" + strings.Repeat("1", 64),
			ExternalReferences: &[]cyclonedx.ExternalReference{
				{Type: cyclonedx.ERTypeDistribution, URL: "https://example.org/rootfs.tar.gz"},
				{Type: cyclonedx.ERTypeDistribution, URL: "https://example.net/rootfs.tar.gz"},
			},
			Properties: properties("kind", "base", "artifact", "rootfs"),
		}},
		{"source", "source", source, cyclonedx.Component{
			BOMRef: "source", Type: cyclonedx.ComponentTypeApplication, Name: "kindling", Version: "v1.2.3",
			Description: "files of the source tree, as they are",
		}},
		{"package for all", "artifact:headers-common", (*fixture).args, cyclonedx.Component{
			BOMRef: "artifact:headers-common", Type: cyclonedx.ComponentTypeLibrary, Name: "linux-headers-common", Version: "6.1.176-1",
			Hashes: hashes(strings.Repeat("1", 64)), Licenses: &cyclonedx.Licenses{{Expression: "GPL-2.0-only"}},
			PackageURL: "pkg:deb/debian/linux-headers-common@6.1.176-1?arch=all",
			ExternalReferences: &[]cyclonedx.ExternalReference{
				{Type: cyclonedx.ERTypeDistribution, URL: "pool/main/l/linux/linux-headers-common.deb", Comment: "below a Debian mirror"},
			},
			Properties: properties("kind", "headers", "artifact", "headers-common"),
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			for _, component := range *f.make(test.args(f)).Components {
				if component.BOMRef != test.ref {
					continue
				}
				if len(*component.Components) == 0 {
					t.Error("component has no files")
				}
				component.Components = nil
				if diff := cmp.Diff(test.want, component); diff != "" {
					t.Errorf("component (-want +got):\n%s", diff)
				}
				return
			}
			t.Errorf("there is no component %s", test.ref)
		})
	}
}

// TestEachFileHasOneComponent checks that the files and links of all listings are
// those of the SBOM, each at one place.
func TestEachFileHasOneComponent(t *testing.T) {
	f := newFixture(t)
	var want []string
	for _, listing := range []string{baseListing, modulesListing, headersListing, programsListing} {
		entries, err := mtree.Parse(strings.NewReader(listing))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type != "dir" {
				want = append(want, "/"+e.Path)
			}
		}
	}
	var got []string
	for _, component := range *f.make(f.args()).Components {
		if component.Components == nil {
			continue
		}
		for _, file := range *component.Components {
			got = append(got, file.Name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-listings +SBOM):\n%s", diff)
	}
}

// TestModuleChange gives a program one module in another version. What the module
// is linked into has other bytes then, and another reference to it, and nothing
// else changes.
func TestModuleChange(t *testing.T) {
	f := newFixture(t)
	before := f.make(f.args())
	f.write("agent", string(goProgram("go1.26.8", strings.Replace(agentInfo, "vsock\tv1.4.0\t"+sumB, "vsock\tv1.5.0\t"+sumA, 1))))
	after := f.make(f.args())
	var changed []string
	was, is := byRef(t, before), byRef(t, after)
	for ref, component := range was {
		if is[ref] != component {
			changed = append(changed, "-"+ref)
		}
	}
	for ref, component := range is {
		if was[ref] != component {
			changed = append(changed, "+"+ref)
		}
	}
	slices.Sort(changed)
	want := []string{
		"+module:github.com/mdlayher/vsock@v1.5.0", "+program:/usr/bin/agent",
		"-module:github.com/mdlayher/vsock@v1.4.0", "-program:/usr/bin/agent",
	}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("changed components (-want +got):\n%s", diff)
	}
	if before.SerialNumber == after.SerialNumber {
		t.Errorf("both documents have the number %s", before.SerialNumber)
	}

	// Of the same bytes with another module, as rules_go links them, only the
	// module is another one.
	f.write("go.sum", "golang.org/x/sys v0.50.0 "+sumB+"\ngolang.org/x/sys v0.49.0 "+sumA+"\n")
	f.write("init.info", strings.Replace(initInfo, "v0.49.0", "v0.50.0", 1))
	last := byRef(t, f.make(f.args()))
	for ref, component := range last {
		if is[ref] != component && ref != "module:golang.org/x/sys@v0.50.0" {
			t.Errorf("component %s changed", ref)
		}
	}
	if len(last) != len(is)+1 {
		t.Errorf("got %d components, want one more than %d", len(last), len(is))
	}
}

// TestOrder checks that the order of flags and of lines, other than that of the
// layers, reaches neither document.
func TestOrder(t *testing.T) {
	f := newFixture(t)
	args := f.imageArgs()
	f.make(args)
	sbom, statement := f.read("sbom.json"), f.read("provenance.json")
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		layers := []string{args[len(args)-3], args[len(args)-2]}
		shuffled := without(args, "--layer")
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for _, name := range []string{"base.mtree", "headers.mtree", "programs.mtree"} {
			lines := strings.SplitAfter(strings.TrimPrefix(string(f.read(name)), "#mtree\n"), "\n")
			random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
			f.write(name, "#mtree\n"+strings.Join(lines, ""))
		}
		f.make(append(shuffled, layers...))
		if !bytes.Equal(f.read("sbom.json"), sbom) || !bytes.Equal(f.read("provenance.json"), statement) {
			t.Fatalf("other documents with flags in the order %v", shuffled)
		}
	}
	param := f.write("params", strings.Join(args, "\n")+"\n")
	f.make([]string{"@" + param})
	if !bytes.Equal(f.read("sbom.json"), sbom) {
		t.Error("other SBOM from a param file")
	}
}

func TestHashUUID(t *testing.T) {
	// SHA-256 of "": e3b0c442 98fc 1c14 9afb f4c8996fb924...
	if got, want := hashUUID(nil), "e3b0c442-98fc-8c14-9afb-f4c8996fb924"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
