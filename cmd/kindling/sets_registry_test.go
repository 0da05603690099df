package main

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

// newRegistry starts a registry and gives its HOST:PORT.
func newRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// writeKeys writes a key pair, the same for a seed: NAME.pem and NAME.pub.pem.
func writeKeys(t *testing.T, name string, seed byte) ed25519.PrivateKey {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if der, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		t.Fatal(err)
	}
	writeFile(t, name+".pub.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return private
}

// sign signs the set in its folder.
func sign(t *testing.T, set testSet, key ed25519.PrivateKey) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(set.dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := bundle.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signature.Sign(m, key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(set.dir, signature.FileName), signed)
}

func TestPushAndPull(t *testing.T) {
	h := newSetHost(t)
	repository := newRegistry(t) + "/kindling/set"
	writeKeys(t, "release", 1)
	writeKeys(t, "other", 2)
	quiet := []string{"--progress", "quiet"}

	pushed := kindling("push", "--key", "release.pem", "--progress", "quiet", "set", repository+":1")
	reference, id, _ := strings.Cut(strings.TrimSpace(pushed.Stdout), " ")
	if pushed.Code != 0 || pushed.Stderr != "" || !strings.HasPrefix(reference, repository+"@sha256:") || id != h.set.id {
		t.Fatalf("push: got %+v, want a reference and %s", pushed, h.set.id)
	}
	json := "{\n  \"reference\": \"" + reference + "\",\n  \"id\": \"" + id + "\"\n}\n"
	tests := []struct {
		name string
		args []string
		want result
	}{
		{"pull by digest", []string{"pull", reference, "by-digest"}, result{0, pushed.Stdout, ""}},
		{"pull by ID", []string{"pull", "--set", id, "-o", "json", repository, "by-id"}, result{0, json, ""}},
		{"pull by signature", []string{"pull", "--key", "release.pub.pem", "oci://" + repository + ":1", "by-key"}, result{0, pushed.Stdout, ""}},
		{"pull again", []string{"pull", reference, "by-digest"}, result{0, pushed.Stdout, ""}},
		{"push again", []string{"push", "-o", "json", "set", "oci://" + repository + ":1"}, result{0, json, ""}},
		{"pull by a tag", []string{"pull", repository + ":1", "by-tag"},
			result{4, "", "neither digest nor set ID nor signature says which bytes are wanted"}},
		{"pull by another signature", []string{"pull", "--key", "other.pub.pem", repository + ":1", "by-tag"}, result{4, "", "no valid signature by a trusted key"}},
		{"pull what is not there", []string{"pull", strings.Replace(reference, "/set@", "/none@", 1), "none"}, result{3, "", "404"}},
		{"push with a public key", []string{"push", "--key", "release.pub.pem", "set", repository}, result{1, "", "read key release.pub.pem: "}},
		{"install by digest", []string{"install", "oci://" + reference, "--arch", both}, result{0, id + "\n", ""}},
		{"install by another signature", []string{"install", "--key", "other.pub.pem", "oci://" + repository + ":1", "--arch", both},
			result{4, "", "no valid signature by a trusted key"}},
		{"install by signature", []string{"install", "--key", "release.pub.pem", "oci://" + repository + ":1", "--arch", both}, result{0, id + "\n", ""}},
		{"install with a mirror", []string{"install", "--mirror", strings.TrimSuffix(repository, "/kindling/set"),
			"--set", id, "oci://" + repository, "--arch", both}, result{0, id + "\n", ""}},
		{"verify with a registry", []string{"verify", "--source", "oci://" + reference, id}, result{0, "ok", ""}},
	}
	for _, test := range tests {
		args := test.args
		if args[0] != "verify" {
			args = append(args, quiet...)
		}
		got := kindling(args...)
		if test.want.Stderr != "" && strings.Contains(got.Stderr, test.want.Stderr) {
			got.Stderr = test.want.Stderr
		}
		if args[0] == "verify" && strings.HasPrefix(got.Stdout, test.want.Stdout) {
			got.Stdout = test.want.Stdout
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	if got := must(t, "install", "--arch", both, "--key", "release.pub.pem", "by-key"); got != id+"\n" {
		t.Errorf("installed %q from the folder of a pull, want %s", got, id)
	}
}

// writeTar writes a folder's files to an archive, as tar -C FOLDER -cf does.
func writeTar(t *testing.T, folder, archive string) {
	t.Helper()
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	if err := writer.AddFS(os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, archive, out.Bytes())
}

// TestInstallSources installs a set from all kinds of sources, with and without
// signatures that are required.
func TestInstallSources(t *testing.T) {
	h := newSetHost(t)
	signed := writeSet(t, "signed", "two")
	sign(t, signed, writeKeys(t, "release", 1))
	writeKeys(t, "other", 2)
	writeTar(t, "set", "set.tar")
	writeTar(t, "signed", "signed.tar")
	server := httptest.NewServer(http.FileServer(http.Dir(".")))
	t.Cleanup(server.Close)
	for _, form := range []struct{ before, behind string }{{"", ""}, {"", ".tar"}, {server.URL + "/", ""}} {
		plain, withSignature := form.before+"set"+form.behind, form.before+"signed"+form.behind
		for _, test := range []struct {
			name, source, key string
			code              int
			want              string
		}{
			{"no key", plain, "", 0, h.set.id + "\n"},
			{"unsigned", plain, "release.pub.pem", 4, "verify signature: no signature\n"},
			{"by another", withSignature, "other.pub.pem", 4, "no valid signature by a trusted key"},
			{"signed", withSignature, "release.pub.pem", 0, signed.id + "\n"},
		} {
			t.Setenv("KINDLING_DATA_DIR", filepath.Join(t.TempDir(), "data"))
			t.Setenv("KINDLING_KEY", test.key)
			t.Setenv("KINDLING_ARCH", both)
			for range 2 { // also where it is installed already
				got := kindling("install", "--progress", "quiet", test.source)
				if got.Code != test.code || !strings.Contains(got.Stdout+got.Stderr, test.want) {
					t.Errorf("%s from %s: got %+v, want code %d and %q", test.name, test.source, got, test.code, test.want)
				}
			}
		}
	}
	if got := kindling("install", server.URL+"/none"); got.Code != 3 || !strings.Contains(got.Stderr, "404") {
		t.Errorf("folder that the server has not: got %+v, want code 3", got)
	}
	store := system.NewStore(h.dataDir, system.Options{})
	if sets, err := store.List(t.Context()); len(sets) != 0 || err != nil {
		t.Errorf("KINDLING_DATA_DIR was not used: got %v, error %v", sets, err)
	}
}

func TestInstallRequiresSignatureOfInstalledSet(t *testing.T) {
	h := newSetHost(t)
	writeKeys(t, "release", 1)
	must(t, "install", "--arch", both, "set")
	got := kindling("install", "--arch", both, "--set", h.set.id, "--key", "release.pub.pem", "set")
	want := result{4, "", "kindling: install artifact set: get manifest.json from set: verify signature: no signature\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
