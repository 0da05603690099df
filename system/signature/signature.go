// Package signature signs artifact sets and says whose signature a set must have.
//
// A signature is a DSSE envelope with an in-toto statement, whose subjects are
// the set's manifest and all of its files; it stands in FileName beside the
// manifest. Keys are Ed25519. Nothing here uses a network, a clock or a service:
// the caller has the keys and says what time it is. Nor does it look at the
// files' bytes, which package bundle does by the manifest.
package signature

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/kindling-vm/kindling/system/bundle"
)

const (
	// FileName is the signature's name beside the manifest.
	FileName = "signature.dsse.json"
	// MediaType is what a signature is in a registry.
	MediaType = "application/vnd.dsse.envelope.v1+json"
	// MaxSize bounds a signature, in bytes.
	MaxSize = 1 << 20

	// payloadType is what the envelope signs. Source: in-toto attestation
	// framework v1, envelope.
	payloadType = "application/vnd.in-toto+json"
	// maxSignatures bounds how many signatures an envelope has.
	maxSignatures = 16
)

var (
	// ErrMissing says that a set has no signature.
	ErrMissing = errors.New("no signature")
	// ErrUntrusted says that no signature of an envelope is by a key that the
	// policy has and that is valid.
	ErrUntrusted = errors.New("no valid signature by a trusted key")
	// ErrOtherSet says that a trusted key signed another set.
	ErrOtherSet = errors.New("signature is for another artifact set")
)

// envelope is a DSSE envelope. Source: DSSE v1.0.2, envelope.md; keys that are
// not known must be ignored.
type envelope struct {
	PayloadType string        `json:"payloadType"`
	Payload     []byte        `json:"payload"`
	Signatures  []dsseWitness `json:"signatures"`
}

// dsseWitness is one signature of an envelope. The key's ID is a hint that
// nobody signed.
type dsseWitness struct {
	KeyID string `json:"keyid,omitempty"`
	Sig   []byte `json:"sig"`
}

func parseEnvelope(data []byte) (*envelope, error) {
	if len(data) == 0 {
		return nil, ErrMissing
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, want at most %d", len(data), MaxSize)
	}
	var signed envelope
	if err := json.Unmarshal(data, &signed); err != nil {
		return nil, fmt.Errorf("parse envelope: %w", err)
	}
	switch {
	case signed.PayloadType != payloadType:
		return nil, fmt.Errorf("payload is of type %q, want %q", signed.PayloadType, payloadType)
	case len(signed.Signatures) == 0:
		return nil, ErrMissing
	case len(signed.Signatures) > maxSignatures:
		return nil, fmt.Errorf("it has %d signatures, want at most %d", len(signed.Signatures), maxSignatures)
	}
	return &signed, nil
}

// preAuthEncoding is what is signed in truth. Source: DSSE v1.0.2, protocol.md.
func preAuthEncoding(kind string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)
}

// Sign gives the signature file of a set, with a signature by every signer in
// their order: with more than one, hosts that know any of the keys take the set,
// as they must while keys change. Equal sets and keys give equal bytes.
func Sign(m *bundle.Manifest, signers ...crypto.Signer) ([]byte, error) {
	payload, err := newStatement(m)
	if err != nil {
		return nil, fmt.Errorf("sign artifact set: %w", err)
	}
	if len(signers) == 0 || len(signers) > maxSignatures {
		return nil, fmt.Errorf("sign artifact set: %d keys, want 1 to %d", len(signers), maxSignatures)
	}
	signed := envelope{PayloadType: payloadType, Payload: payload}
	for _, signer := range signers {
		witness, err := sign(payload, signer)
		if err != nil {
			return nil, fmt.Errorf("sign artifact set: %w", err)
		}
		signed.Signatures = append(signed.Signatures, witness)
	}
	data, err := json.Marshal(signed)
	return append(data, '\n'), err
}

func sign(payload []byte, signer crypto.Signer) (dsseWitness, error) {
	public, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return dsseWitness{}, fmt.Errorf("key is a %T, want an Ed25519 key", signer.Public())
	}
	id, err := KeyID(public)
	if err != nil {
		return dsseWitness{}, err
	}
	message := preAuthEncoding(payloadType, payload)
	sig, err := signer.Sign(rand.Reader, message, crypto.Hash(0))
	if err != nil {
		return dsseWitness{}, fmt.Errorf("sign with key %s: %w", id, err)
	}
	// The signer may be a device or a service.
	if !ed25519.Verify(public, message, sig) {
		return dsseWitness{}, fmt.Errorf("sign with key %s: the signature is not by that key", id)
	}
	return dsseWitness{KeyID: id, Sig: sig}, nil
}

// KeyID names a key: the SHA-256 of its PKIX form (RFC 8410), 64 lower-case
// hexadecimal digits.
func KeyID(public ed25519.PublicKey) (string, error) {
	if len(public) != ed25519.PublicKeySize {
		return "", fmt.Errorf("public key has %d bytes, want %d", len(public), ed25519.PublicKeySize)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// Read reads the signature from a set's folder. A folder without one is
// ErrMissing.
func Read(fsys fs.FS) (data []byte, err error) {
	file, err := fsys.Open(FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read signature: %w (%s)", ErrMissing, FileName)
	}
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read signature: %w", err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read signature: %s has more than %d bytes", FileName, MaxSize)
	}
	return data, nil
}
