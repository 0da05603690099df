package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStatement checks the whole document of a set with a package, an image, a
// module and a program, against in-toto's and SLSA's field names.
func TestStatement(t *testing.T) {
	f := newFixture(t)
	args := without(f.imageArgs(), "--artifact=headers", "--file=base", "--file=headers", "--file=kernel-info",
		"--segment=headers", "--owner=headers", "--segment=programs", "--binary=/usr/bin/agent")
	f.make(append(args, "--segment=programs="+f.write("init.mtree", "#mtree\n./init type=file mode=0555 uid=0 gid=0\n")))
	manifest, module := strings.Repeat("2", 64), "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f"
	want := fmt.Sprintf(`{
  "_type": "https://in-toto.io/Statement/v1",
  "subject": [
    {
      "name": "initrd.cpio",
      "digest": {
        "sha256": %[1]q
      }
    },
    {
      "name": "vmlinux",
      "digest": {
        "sha256": %[2]q
      }
    }
  ],
  "predicateType": "https://slsa.dev/provenance/v1",
  "predicate": {
    "buildDefinition": {
      "buildType": "https://github.com/kindling-vm/kindling/artifact-set/v1",
      "externalParameters": {
        "arch": "x86_64",
        "profile": "debian"
      },
      "resolvedDependencies": [
        {
          "name": "go",
          "uri": "pkg:golang/stdlib@1.26.8"
        },
        {
          "name": "golang.org/x/sys",
          "uri": "pkg:golang/golang.org/x/sys@v0.49.0",
          "digest": {
            "dirHash1": %[3]q
          },
          "annotations": {
            "go.sum": %[4]q
          }
        },
        {
          "name": "linux",
          "uri": "pkg:deb/debian/linux-image@6.1.176-1?arch=amd64",
          "digest": {
            "sha256": %[5]q
          }
        },
        {
          "name": "registry.example/library/base",
          "uri": "pkg:oci/base@sha256:%[6]s?repository_url=registry.example%%2Flibrary%%2Fbase",
          "digest": {
            "sha256": %[6]q
          }
        },
        {
          "name": "registry.example/library/base layer 001",
          "digest": {
            "sha256": %[7]q
          }
        },
        {
          "name": "registry.example/library/base layer 002",
          "digest": {
            "sha256": %[8]q
          }
        }
      ]
    },
    "runDetails": {
      "builder": {
        "id": "https://github.com/kindling-vm/kindling/bazel/v1"
      },
      "byproducts": [
        {
          "name": "sbom.json",
          "digest": {
            "sha256": %[9]q
          },
          "mediaType": "application/vnd.cyclonedx+json; version=1.6"
        }
      ]
    }
  }
}
`, sha256Of([]byte("initrd.cpio")), sha256Of([]byte("vmlinux")), module, sumA, strings.Repeat("1", 64), manifest,
		strings.Repeat("4", 64), strings.Repeat("3", 64), sha256Of(f.read("sbom.json")))
	if diff := cmp.Diff(want, string(f.read("provenance.json"))); diff != "" {
		t.Errorf("statement (-want +got):\n%s", diff)
	}
}

// TestDownloadLocation checks that what has a URL says so.
func TestDownloadLocation(t *testing.T) {
	f := newFixture(t)
	f.make(f.rootfsArgs())
	var s statement
	if err := json.Unmarshal(f.read("provenance.json"), &s); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, d := range s.Predicate.BuildDefinition.ResolvedDependencies {
		got[d.Name] = d.DownloadLocation
	}
	want := map[string]string{
		"rootfs": "https://example.org/rootfs.tar.gz",
		"linux":  "", "headers": "", "headers-common": "", "go": "", "golang.org/x/sys": "", "github.com/mdlayher/vsock": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("download locations (-want +got):\n%s", diff)
	}
}
