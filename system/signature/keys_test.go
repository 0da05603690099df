package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The key pair of RFC 8410, 10.1 and 10.3, as openssl writes it, and its ID by
// openssl pkey -pubin -outform DER | sha256sum.
const (
	rfcPrivate = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
`
	rfcPublic = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
`
	rfcID = "a1e9156054e04fac899ae9f275132cdc07a5dbc4ea2c2ad3a1ffc6e0d253681f"
)

func TestParseKeys(t *testing.T) {
	signer, err := ParsePrivateKey([]byte(rfcPrivate))
	if err != nil {
		t.Fatal(err)
	}
	want := signer.Public().(ed25519.PublicKey)
	if got, err := KeyID(want); err != nil || got != rfcID {
		t.Errorf("KeyID = %s, error %v, want %s", got, err, rfcID)
	}
	bounded := strings.Replace(rfcPublic, "-----\n", "-----\nNot-After: 2027-01-01T00:00:00Z\nNot-Before: 2026-01-01T00:00:00+01:00\n\n", 1)
	got, err := ParseKeys([]byte("first, for ever:\n" + rfcPublic + "\nsecond:\n" + bounded))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Key{
		{Public: want},
		{Public: want, NotBefore: time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
	}, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestParseKeysRefuses(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(curve.Public())
	if err != nil {
		t.Fatal(err)
	}
	curvePublic := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if der, err = x509.MarshalPKCS8PrivateKey(curve); err != nil {
		t.Fatal(err)
	}
	curvePrivate := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	header := func(line string) string {
		return strings.Replace(rfcPublic, "-----\n", "-----\n"+line+"\n\n", 1)
	}
	public := func(data []byte) error { _, err := ParseKeys(data); return err }
	private := func(data []byte) error { _, err := ParsePrivateKey(data); return err }
	tests := []struct {
		name  string
		parse func([]byte) error
		text  string
		want  string
	}{
		{"empty", public, "", "parse keys: no PEM block"},
		{"private key", public, rfcPrivate, `PEM block is a "PRIVATE KEY", want a "PUBLIC KEY"`},
		{"other kind of key", public, curvePublic, "parse key 1: it is a *ecdsa.PublicKey, want an Ed25519 key"},
		{"cut", public, rfcPublic + rfcPublic[:60], "1 of 2 PEM blocks are malformed"},
		{"not a key", public, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "parse key 1: "},
		{"unknown header", public, header("Not-Afer: 2027-01-01T00:00:00Z"), "header Not-Afer is unknown"},
		{"no time", public, header("Not-After: 2027-01-01"), "parse header Not-After"},
		{"no private key", private, "", "parse private key: no PEM block"},
		{"two private keys", private, rfcPrivate + rfcPrivate, "2 keys, want one"},
		{"public key", private, rfcPublic, `PEM block is a "PUBLIC KEY"`},
		{"other kind of private key", private, curvePrivate, "want an Ed25519 key"},
		{"not a private key", private, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "parse private key: "},
	}
	for _, test := range tests {
		if err := test.parse([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestReadPrivateKeys(t *testing.T) {
	dir := t.TempDir()
	key, other := filepath.Join(dir, "key.pem"), filepath.Join(dir, "other.pem")
	for name, text := range map[string]string{key: rfcPrivate, other: rfcPublic} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	signers, err := ReadPrivateKeys([]string{key, key})
	if err != nil || len(signers) != 2 {
		t.Errorf("got %d keys, error %v, want 2", len(signers), err)
	}
	for path, want := range map[string]string{
		other:      "read key " + other + `: parse private key: PEM block is a "PUBLIC KEY", want a "PRIVATE KEY"`,
		dir + "/x": "read key: open " + dir + "/x: no such file or directory",
	} {
		if _, err := ReadPrivateKeys([]string{key, path}); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
}
