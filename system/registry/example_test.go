package registry_test

import (
	"context"
	"fmt"
	"log"
	"os"

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
