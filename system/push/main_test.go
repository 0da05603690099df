package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

func writeSet(t *testing.T) (manifest string) {
	t.Helper()
	dir := t.TempDir()
	arch := bundle.Architecture{Arch: "x86_64", CommandLine: "console=ttyS0"}
	for kind, name := range map[bundle.Kind]string{bundle.Kernel: "vmlinux", bundle.Initrd: "initrd"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := bundle.Describe(os.DirFS(dir), kind, name)
		if err != nil {
			t.Fatal(err)
		}
		arch.Files = append(arch.Files, file)
	}
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol, Architectures: []bundle.Architecture{arch}}
	data, err := m.MarshalCanonical()
	if err != nil {
		t.Fatal(err)
	}
	manifest = filepath.Join(dir, "manifest.json")
	if err := os.WriteFile(manifest, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return manifest
}

// isolate takes the user's settings away.
func isolate(t *testing.T) {
	t.Helper()
	t.Setenv("KINDLING_ARTIFACTS", "")
	t.Setenv("KINDLING_KEY", "")
	t.Setenv("DOCKER_CONFIG", t.TempDir())
}

func TestPush(t *testing.T) {
	isolate(t)
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/kindling/set:1"
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--artifacts", writeSet(t), "--key", key, ref}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	pushed, setID, _ := strings.Cut(strings.TrimSpace(stdout.String()), " ")
	policy, err := signature.RequireSigned(signature.Key{Public: private.Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := new(registry.Client).Pull(t.Context(), pushed, t.TempDir(), registry.Want{SetID: setID, Policy: policy})
	if err != nil || got.Reference != pushed || got.SetID != setID {
		t.Errorf("got %+v, error %v, want %s %s", got, err, pushed, setID)
	}
	for _, want := range []string{"push: vmlinux, 7 bytes\n", "push: initrd, 6 bytes\n"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr is %q, want %q", &stderr, want)
		}
	}
}

func TestPushRefuses(t *testing.T) {
	isolate(t)
	manifest := writeSet(t)
	notKey := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(notKey, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no reference", nil, 2, "push: got 0 references, want one"},
		{"two references", []string{"a/b", "c/d"}, 2, "got 2 references"},
		{"unknown flag", []string{"--nosuch", "a/b"}, 2, "unknown flag"},
		{"other file", []string{"--artifacts", filepath.Dir(manifest) + "/vmlinux", "a/b"}, 2, `--artifacts is a file "vmlinux", want manifest.json`},
		{"no set", []string{"--artifacts", t.TempDir() + "/manifest.json", "a/b"}, 1, "no such file"},
		{"no key", []string{"--artifacts", manifest, "--key", notKey + "x", "a/b"}, 1, "read key: open"},
		{"not a key", []string{"--artifacts", manifest, "--key", notKey, "a/b"}, 1, "read key " + notKey + ": parse private key: no PEM block"},
		{"malformed reference", []string{"--artifacts", manifest, "A/B"}, 1, "parse reference"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(test.args, &stdout, &stderr); code != test.code || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("exit code %d, %q, want %d, %q", code, &stderr, test.code, test.want)
			}
			if stdout.Len() != 0 {
				t.Errorf("stdout is %q", &stdout)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	isolate(t)
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--help"}, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "--key FILE") || stderr.Len() != 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
}
