package signature

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/system/bundle"
)

// Key is a key whose signatures count, for as long as it is valid.
type Key struct {
	Public ed25519.PublicKey
	// NotBefore and NotAfter bound when signatures are verified, not when they
	// were made, which nobody can tell. Zero is no bound.
	NotBefore, NotAfter time.Time
}

// Policy says whose signature a set must have.
type Policy struct {
	keys []namedKey
}

type namedKey struct {
	Key
	id string
}

// RequireSigned is the policy that a set has a signature by one of the keys.
// Without keys, no set fulfills it.
func RequireSigned(keys ...Key) (*Policy, error) {
	p := &Policy{}
	for _, key := range keys {
		id, err := KeyID(key.Public)
		if err != nil {
			return nil, fmt.Errorf("require signature: %w", err)
		}
		if slices.ContainsFunc(p.keys, func(other namedKey) bool { return other.id == id }) {
			return nil, fmt.Errorf("require signature: key %s stands there twice", id)
		}
		p.keys = append(p.keys, namedKey{key, id})
	}
	return p, nil
}

// Verify checks that the signature file is for the set and by a key that the
// policy has and that is valid at the time. Empty data are ErrMissing; other
// errors a caller may tell apart are ErrUntrusted and ErrOtherSet.
func (p *Policy) Verify(m *bundle.Manifest, data []byte, at time.Time) error {
	if err := p.verify(m, data, at); err != nil {
		return fmt.Errorf("verify signature: %w", err)
	}
	return nil
}

func (p *Policy) verify(m *bundle.Manifest, data []byte, at time.Time) error {
	signed, err := parseEnvelope(data)
	if err != nil {
		return err
	}
	message := preAuthEncoding(signed.PayloadType, signed.Payload)
	var reasons []string
	for _, witness := range signed.Signatures {
		err := p.check(message, witness, at)
		if err == nil {
			// Nothing of the payload is read before it is known to be trusted.
			return checkStatement(signed.Payload, m)
		}
		reasons = append(reasons, err.Error())
	}
	return fmt.Errorf("%w: %s", ErrUntrusted, strings.Join(reasons, "; "))
}

// Check checks that the signature file is for the set, but not who made it: any
// key will do. The error of another set is ErrOtherSet.
func Check(m *bundle.Manifest, data []byte) error {
	signed, err := parseEnvelope(data)
	if err == nil {
		err = checkStatement(signed.Payload, m)
	}
	if err != nil {
		return fmt.Errorf("check signature: %w", err)
	}
	return nil
}

// check checks one signature.
func (p *Policy) check(message []byte, witness dsseWitness, at time.Time) error {
	for _, key := range p.keys {
		if !ed25519.Verify(key.Public, message, witness.Sig) {
			continue
		}
		switch {
		case !key.NotBefore.IsZero() && at.Before(key.NotBefore):
			return fmt.Errorf("key %s is valid from %s", key.id, key.NotBefore.Format(time.RFC3339))
		case !key.NotAfter.IsZero() && at.After(key.NotAfter):
			return fmt.Errorf("key %s was valid until %s", key.id, key.NotAfter.Format(time.RFC3339))
		}
		return nil
	}
	if slices.ContainsFunc(p.keys, func(key namedKey) bool { return key.id == witness.KeyID }) {
		return fmt.Errorf("key %s did not make this signature", witness.KeyID)
	}
	return fmt.Errorf("key %.64q is not trusted", witness.KeyID)
}
