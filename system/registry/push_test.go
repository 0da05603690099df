package registry

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

const wantIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
	`{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":SIZE,"digest":"DIGEST","platform":{"architecture":"arm64","os":"linux"},"artifactType":"application/vnd.kindling.artifact-set.v1"},` +
	`{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":SIZE,"digest":"DIGEST","platform":{"architecture":"amd64","os":"linux"},"artifactType":"application/vnd.kindling.artifact-set.v1"}],` +
	`"annotations":{"io.github.kindling-vm.set":"SET"},"artifactType":"application/vnd.kindling.artifact-set.v1"}`

const wantManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.kindling.manifest.v1+json","size":CONFIGSIZE,"digest":"SET"},"layers":[` +
	`{"mediaType":"application/vnd.kindling.headers.v1","size":0,"digest":"sha256:HEADERS","annotations":{"io.github.kindling-vm.kind":"headers","org.opencontainers.image.title":"x86_64/headers.squashfs"}},` +
	`{"mediaType":"application/vnd.kindling.initrd.v1","size":17,"digest":"sha256:INITRD","annotations":{"io.github.kindling-vm.kind":"initrd","org.opencontainers.image.title":"x86_64/initrd"}},` +
	`{"mediaType":"application/vnd.kindling.kernel.v1","size":300000,"digest":"sha256:KERNEL","annotations":{"io.github.kindling-vm.kind":"kernel","org.opencontainers.image.title":"x86_64/vmlinux"}},` +
	`{"mediaType":"application/vnd.kindling.provenance.v1","size":15,"digest":"sha256:PROVENANCE","annotations":{"io.github.kindling-vm.kind":"provenance","org.opencontainers.image.title":"x86_64/provenance.intoto.json"}},` +
	`{"mediaType":"application/vnd.kindling.sbom.v1","size":17,"digest":"sha256:SBOM","annotations":{"io.github.kindling-vm.kind":"sbom","org.opencontainers.image.title":"x86_64/sbom.cdx.json"}}],` +
	`"artifactType":"application/vnd.kindling.artifact-set.v1"}`

// TestPushedBytes pins the format: other bytes give the sets that are out there
// other digests.
func TestPushedBytes(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	pushed := set.push(t, r)
	get := func(digest string) *remote.Descriptor {
		t.Helper()
		ref, err := name.NewDigest(r.host + "/kindling/set@" + digest)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Get(ref)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	_, digest, _ := strings.Cut(pushed.Reference, "@")
	index := get(digest)
	manifests, err := parseIndex(index.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	manifest := get(manifests["x86_64"].Digest.String())
	want := []string{"CONFIGSIZE", strconv.Itoa(len(set.content["manifest.json"])), "SET", set.id}
	for _, kind := range []bundle.Kind{bundle.Headers, bundle.Initrd, bundle.Kernel, bundle.Provenance, bundle.SBOM} {
		want = append(want, strings.ToUpper(string(kind)), set.file(t, kind).SHA256)
	}
	if diff := cmp.Diff(strings.NewReplacer(want...).Replace(wantManifest), string(manifest.Manifest)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	wantText := strings.ReplaceAll(wantIndex, "SET", set.id)
	for _, arch := range []string{"aarch64", "x86_64"} {
		wantText = strings.Replace(strings.Replace(wantText, "SIZE", strconv.Itoa(int(manifests[arch].Size)), 1), "DIGEST", manifests[arch].Digest.String(), 1)
	}
	if diff := cmp.Diff(wantText, string(index.Manifest)); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
	if index.MediaType != types.OCIImageIndex || manifest.MediaType != types.OCIManifestSchema1 {
		t.Errorf("media types are %s and %s", index.MediaType, manifest.MediaType)
	}
	if again := set.push(t, newRegistry(t)); again.SetID != pushed.SetID || !strings.HasSuffix(again.Reference, digest) {
		t.Errorf("another registry has %+v, want %+v", again, pushed)
	}
}

// TestReferrers looks at what is attached, as other tools do.
func TestReferrers(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	set.sign(t, 1)
	index, err := name.NewDigest(set.push(t, r).Reference)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Get(index)
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := parseIndex(got.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	amd64 := index.Context().Digest(manifests["x86_64"].Digest.String())
	for _, test := range []struct {
		subject name.Digest
		want    map[string]string // artifact type -> content
	}{
		{index, map[string]string{signature.MediaType: set.content[signature.FileName]}},
		{amd64, map[string]string{sbomType: set.content["x86_64/sbom.cdx.json"], provenanceType: set.content["x86_64/provenance.intoto.json"]}},
	} {
		attached := map[string]string{}
		referrers, err := remote.Referrers(test.subject)
		if err != nil {
			t.Fatal(err)
		}
		list, err := referrers.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, descriptor := range list.Manifests {
			image, err := remote.Image(test.subject.Context().Digest(descriptor.Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := image.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			if manifest.Subject.Digest.String() != test.subject.DigestStr() || len(manifest.Layers) != 1 || manifest.Config.MediaType != emptyType {
				t.Errorf("referrer is %+v", manifest)
			}
			attached[manifest.ArtifactType] = blob(t, test.subject.Context(), manifest.Layers[0].Digest)
		}
		if diff := cmp.Diff(test.want, attached); diff != "" {
			t.Errorf("attached to %s (-want +got):\n%s", test.subject, diff)
		}
	}
	if got := blob(t, index.Context(), hashOf([]byte("{}"))); got != "{}" {
		t.Errorf("empty config is %q", got)
	}
}

func blob(t *testing.T, repo name.Repository, digest v1.Hash) string {
	t.Helper()
	s := &source{client: newClient(), repo: repo}
	data, err := s.getDocument(t.Context(), "blobs/"+digest.String(), nil, digest.String(), maxDocument)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPushOfLinks has a folder as Bazel makes it.
func TestPushOfLinks(t *testing.T) {
	r := newRegistry(t)
	set := newSet(t, 1)
	linked := t.TempDir()
	for name := range set.content {
		path := filepath.Join(linked, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(set.dir, name), path); err != nil {
			t.Fatal(err)
		}
	}
	pushed, err := newClient().Push(t.Context(), linked, r.host+"/kindling/set")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := newClient().Pull(t.Context(), pushed.Reference, dir, Want{}); err != nil {
		t.Fatal(err)
	}
	set.checkFolder(t, dir)
	_, err = newClient().Resolve(t.Context(), r.host+"/kindling/set:latest")
	checkError(t, err, "says 404 Not Found")
}

func TestPushRefuses(t *testing.T) {
	r := newRegistry(t)
	tests := []struct {
		name, ref string
		change    func(t *testing.T, set *testSet)
		want      string
	}{
		{name: "digest", ref: "/kindling/set@sha256:" + strings.Repeat("0", 64), want: "reference has a digest"},
		{name: "malformed reference", ref: "/kindling/SET:1", want: "parse reference"},
		{name: "no manifest", change: func(t *testing.T, set *testSet) {
			if err := os.Remove(filepath.Join(set.dir, "manifest.json")); err != nil {
				t.Fatal(err)
			}
		}, want: "manifest.json: no such file"},
		{name: "manifest in another form", change: func(t *testing.T, set *testSet) {
			writeFile(t, filepath.Join(set.dir, "manifest.json"), set.content["manifest.json"]+"\n")
		}, want: "manifest.json is not in canonical form"},
		{name: "changed kernel", change: func(t *testing.T, set *testSet) {
			writeFile(t, filepath.Join(set.dir, "x86_64/vmlinux"), "other")
		}, want: "kernel x86_64/vmlinux has SHA-256"},
		{name: "signature of another set", change: func(t *testing.T, set *testSet) {
			other := newSet(t, 2)
			other.sign(t, 1)
			writeFile(t, filepath.Join(set.dir, signature.FileName), other.content[signature.FileName])
		}, want: signature.ErrOtherSet.Error()},
		{name: "file with a name that is taken", change: func(t *testing.T, set *testSet) {
			set.manifest.Architectures[0].Files[0].Name = signature.FileName
			canonical, err := set.manifest.MarshalCanonical()
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(set.dir, "manifest.json"), string(canonical))
		}, want: "file signature.dsse.json has a name that is taken"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set := newSet(t, 1)
			if test.change != nil {
				test.change(t, set)
			}
			if test.ref == "" {
				test.ref = "/kindling/set:1"
			}
			r.misbehave(nil)
			_, err := newClient().Push(t.Context(), set.dir, r.host+test.ref)
			checkError(t, err, test.want)
			if got := r.count(""); got != 0 {
				t.Errorf("%d requests for a set that cannot be pushed", got)
			}
		})
	}
}

// TestPushFails has registries that refuse; the tag is not there then.
func TestPushFails(t *testing.T) {
	set := newSet(t, 1)
	kernel := set.file(t, bundle.Kernel)
	for _, test := range []struct {
		name   string
		refuse func(r *http.Request) bool
		want   string
	}{
		{"upload", func(r *http.Request) bool { return r.Method == http.MethodPost }, "says 403 Forbidden (\"DENIED: no\")"},
		{"manifest", func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		}, "put manifest of "},
		{"tag", func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1")
		}, "put tag 1: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRegistry(t)
			r.misbehave(func(w http.ResponseWriter, request *http.Request) bool {
				if !test.refuse(request) {
					return false
				}
				answer(403, `{"errors":[{"code":"DENIED","message":"no"}]}`)(w, request)
				return true
			})
			_, err := newClient().Push(t.Context(), set.dir, r.host+"/kindling/set:1")
			checkError(t, err, test.want)
			checkError(t, err, "push "+set.dir+" to ")
			r.misbehave(nil)
			if _, err := newClient().Resolve(t.Context(), r.host+"/kindling/set:1"); !isStatus(err, http.StatusNotFound) {
				t.Errorf("tag is there, error %v", err)
			}
			// What came through need not be sent again.
			if _, err := newClient().Push(t.Context(), set.dir, r.host+"/kindling/set:1"); err != nil {
				t.Error(err)
			}
			if got := r.count("PATCH"); test.name == "tag" && got != 0 {
				t.Errorf("%d uploads of what is there: %s", got, kernel.SHA256)
			}
		})
	}
	canceled := errors.New("canceled")
	client := newClient()
	client.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, canceled })
	if _, err := client.Push(t.Context(), set.dir, "registry.example/set:1"); !errors.Is(err, canceled) {
		t.Errorf("got error %v, want %v", err, canceled)
	}
}
