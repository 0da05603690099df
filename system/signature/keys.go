package signature

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// ParsePrivateKey reads an Ed25519 key as openssl genpkey writes it: one PEM
// block with PKCS #8, without a password.
func ParsePrivateKey(data []byte) (crypto.Signer, error) {
	blocks, err := parsePEM(data, "PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	if len(blocks) != 1 {
		return nil, fmt.Errorf("parse private key: %d keys, want one", len(blocks))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(blocks[0].Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("parse private key: it is a %T, want an Ed25519 key", parsed)
	}
	return key, nil
}

// ReadPrivateKeys reads the keys in files, as ParsePrivateKey does, in their
// order.
func ReadPrivateKeys(paths []string) ([]crypto.Signer, error) {
	var signers []crypto.Signer
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		signer, err := ParsePrivateKey(data)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", path, err)
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// ParseKeys reads the keys of a policy: PEM blocks as openssl pkey -pubout
// writes them. A block may have the PEM headers Not-Before and Not-After with
// RFC 3339 times; another one is an error, as is a file without keys.
func ParseKeys(data []byte) ([]Key, error) {
	blocks, err := parsePEM(data, "PUBLIC KEY")
	if err != nil {
		return nil, fmt.Errorf("parse keys: %w", err)
	}
	var keys []Key
	for i, block := range blocks {
		key, err := parseKey(block)
		if err != nil {
			return nil, fmt.Errorf("parse key %d: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(block *pem.Block) (Key, error) {
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, err
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return Key{}, fmt.Errorf("it is a %T, want an Ed25519 key", parsed)
	}
	key := Key{Public: public}
	for _, name := range slices.Sorted(maps.Keys(block.Headers)) {
		at, err := time.Parse(time.RFC3339, block.Headers[name])
		if err != nil {
			return Key{}, fmt.Errorf("parse header %s: %w", name, err)
		}
		switch name {
		case "Not-Before":
			key.NotBefore = at
		case "Not-After":
			key.NotAfter = at
		default:
			return Key{}, fmt.Errorf("header %s is unknown", name)
		}
	}
	return key, nil
}

// parsePEM reads all blocks, which must be of one type. Text around them is
// allowed, but none that looks like a block and is not.
func parsePEM(data []byte, kind string) ([]*pem.Block, error) {
	var blocks []*pem.Block
	count := bytes.Count(data, []byte("-----BEGIN "))
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != kind {
			return nil, fmt.Errorf("PEM block is a %q, want a %q", block.Type, kind)
		}
		blocks = append(blocks, block)
		data = rest
	}
	switch {
	case len(blocks) != count:
		return nil, fmt.Errorf("%d of %d PEM blocks are malformed", count-len(blocks), count)
	case count == 0:
		return nil, errors.New("no PEM block")
	}
	return blocks, nil
}
