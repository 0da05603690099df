package registry_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/system/bundle"
	"github.com/kindling-vm/kindling/system/registry"
	"github.com/kindling-vm/kindling/system/signature"
)

// A host pulls the set that its keys vouch for, by a tag, and keeps the reference
// and the ID that it got.
func ExampleClient_Pull() {
	pem, err := os.ReadFile("keys.pem")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := signature.ParseKeys(pem)
	if err != nil {
		log.Fatal(err)
	}
	policy, err := signature.RequireSigned(keys...)
	if err != nil {
		log.Fatal(err)
	}
	client := &registry.Client{Mirrors: []string{"mirror.example"}}
	got, err := client.Pull(context.Background(), "registry.example/kindling/set:1.2", "set", registry.Want{Policy: policy})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Reference, got.SetID)
}

// writeSet writes a set with small files, the same at each run.
func writeSet(dir string) error {
	arch := bundle.Architecture{Arch: "x86_64", CommandLine: "console=ttyS0"}
	for _, kind := range []bundle.Kind{bundle.Kernel, bundle.Initrd} {
		if err := os.WriteFile(filepath.Join(dir, string(kind)), []byte(kind), 0o644); err != nil {
			return err
		}
		file, err := bundle.Describe(os.DirFS(dir), kind, string(kind))
		if err != nil {
			return err
		}
		arch.Files = append(arch.Files, file)
	}
	m := &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol, Architectures: []bundle.Architecture{arch}}
	data, err := m.MarshalCanonical()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifest.json"), data, 0o644)
}

// A host installs the set that a reference in its configuration pins.
func ExampleClient_Source() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	client := &registry.Client{}
	repository := strings.TrimPrefix(server.URL, "http://") + "/kindling/set"
	if err := writeSet(dir); err != nil {
		fmt.Println(err)
		return
	}
	pushed, err := client.Push(context.Background(), dir, repository+":1")
	if err != nil {
		fmt.Println(err)
		return
	}

	source, err := client.Source(pushed.Reference, registry.Want{})
	if err != nil {
		fmt.Println(err)
		return
	}
	store := system.NewStore(filepath.Join(dir, "data"), system.Options{Sources: []system.Source{source}})
	installed, err := store.Install(context.Background(), "", "x86_64")
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := store.Resolve(context.Background(), installed.ID, "x86_64")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(set.ID == pushed.SetID, filepath.Base(set.Kernel), set.CommandLine)
	// Output: true vmlinux console=ttyS0
}
