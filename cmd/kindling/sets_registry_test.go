package main

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/signature"
)

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
