package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/system/bundle"
)

// testKey gives the same key for the same number.
func testKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey)
}

func id(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	id, err := KeyID(public(key))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func manifest(kernel string) *bundle.Manifest {
	sum := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	return &bundle.Manifest{Version: bundle.Version, AgentProtocol: bundle.AgentProtocol, Architectures: []bundle.Architecture{{
		Arch: "x86_64",
		Files: []bundle.File{
			{Kind: bundle.Kernel, Name: "x86_64/vmlinux", SHA256: sum(kernel), Size: int64(len(kernel))},
			{Kind: bundle.Initrd, Name: "x86_64/initrd", SHA256: sum("initrd"), Size: 6},
		},
	}}}
}

func mustSign(t *testing.T, m *bundle.Manifest, keys ...ed25519.PrivateKey) []byte {
	t.Helper()
	var signers []crypto.Signer
	for _, key := range keys {
		signers = append(signers, key)
	}
	data, err := Sign(m, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPreAuthEncoding has the example of DSSE v1.0.2, protocol.md.
func TestPreAuthEncoding(t *testing.T) {
	got := string(preAuthEncoding("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

const wantPayload = `{"_type":"https://in-toto.io/Statement/v1","subject":[` +
	`{"name":"manifest.json","digest":{"sha256":"SET"}},` +
	`{"name":"x86_64/initrd","digest":{"sha256":"09e6c018d2c8c4903308613dd1b72484d57eadf12ec50ddc8f52e5accce470f2"}},` +
	`{"name":"x86_64/vmlinux","digest":{"sha256":"6923dd1bc0460082c5d55a831908c24a282860b7f1cd6c2b79cf1bc8857c639c"}}],` +
	`"predicateType":"https://github.com/kindling-vm/kindling/artifact-set/v1","predicate":{"setID":"sha256:SET"}}` + "\n"

func TestSign(t *testing.T) {
	m := manifest("kernel")
	data := mustSign(t, m, testKey(1), testKey(2))
	if again := mustSign(t, m, testKey(1), testKey(2)); !bytes.Equal(data, again) {
		t.Error("two signatures differ")
	}
	var signed struct {
		PayloadType, Payload string
		Signatures           []struct{ KeyID, Sig string }
	}
	if err := json.Unmarshal(data, &signed); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(signed.Payload)
	if err != nil {
		t.Fatal(err)
	}
	setID, err := m.ID()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(wantPayload, "SET", strings.TrimPrefix(setID, "sha256:"))
	if diff := cmp.Diff(want, string(payload)); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	if signed.PayloadType != "application/vnd.in-toto+json" || len(signed.Signatures) != 2 ||
		signed.Signatures[0].KeyID != id(t, testKey(1)) || signed.Signatures[1].KeyID != id(t, testKey(2)) {
		t.Errorf("got %+v", signed)
	}
}

// otherSigner says that it has one key and signs with another.
type otherSigner struct{ ed25519.PrivateKey }

func (otherSigner) Public() crypto.PublicKey { return testKey(2).Public() }

type brokenSigner struct{ ed25519.PrivateKey }

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("device is gone")
}

func TestSignRefuses(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		m       *bundle.Manifest
		signers []crypto.Signer
		want    string
	}{
		{"no key", manifest("kernel"), nil, "0 keys, want 1 to 16"},
		{"too many keys", manifest("kernel"), make([]crypto.Signer, 17), "17 keys"},
		{"other kind of key", manifest("kernel"), []crypto.Signer{curve}, "want an Ed25519 key"},
		{"signature by another key", manifest("kernel"), []crypto.Signer{otherSigner{testKey(1)}}, "the signature is not by that key"},
		{"signer fails", manifest("kernel"), []crypto.Signer{brokenSigner{testKey(1)}}, "device is gone"},
		{"manifest without files", &bundle.Manifest{Version: bundle.Version}, []crypto.Signer{testKey(1)}, "agent protocol"},
	}
	for _, test := range tests {
		if _, err := Sign(test.m, test.signers...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

// edit changes an envelope.
func edit(t *testing.T, data []byte, change func(*envelope)) []byte {
	t.Helper()
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	change(&e)
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// resign signs another payload.
func resign(t *testing.T, kind, payload string) []byte {
	t.Helper()
	sig := ed25519.Sign(testKey(1), preAuthEncoding(kind, []byte(payload)))
	data, err := json.Marshal(envelope{PayloadType: kind, Payload: []byte(payload), Signatures: []dsseWitness{{Sig: sig}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestVerify(t *testing.T) {
	m := manifest("kernel")
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	one, two := testKey(1), testKey(2)
	good := mustSign(t, m, one)
	payload, err := newStatement(m)
	if err != nil {
		t.Fatal(err)
	}
	text := string(payload)
	key := func(key ed25519.PrivateKey) Key { return Key{Public: public(key)} }
	until := func(at time.Time) []Key { return []Key{{Public: public(one), NotAfter: at}} }
	from := func(at time.Time) []Key { return []Key{{Public: public(one), NotBefore: at}} }
	tests := []struct {
		name string
		keys []Key
		data []byte
		is   error  // nil for any
		want string // "" for no error
	}{
		{"trusted", []Key{key(one)}, good, nil, ""},
		{"one of the trusted keys", []Key{key(two), key(one)}, good, nil, ""},
		{"one of the signatures", []Key{key(one)}, mustSign(t, m, two, one), nil, ""},
		{"without the key's ID", []Key{key(one)}, edit(t, good, func(e *envelope) { e.Signatures[0].KeyID = "" }), nil, ""},
		{"with another key's ID", []Key{key(one)}, edit(t, good, func(e *envelope) { e.Signatures[0].KeyID = id(t, two) }), nil, ""},
		{"unknown key of the envelope", []Key{key(one)}, bytes.Replace(good, []byte("{"), []byte(`{"later":1,`), 1), nil, ""},
		{"last moment", until(now), good, nil, ""},
		{"first moment", from(now), good, nil, ""},
		{"old key expired, new one signed too", append(until(now.Add(-1)), key(two)), mustSign(t, m, one, two), nil, ""},

		{"missing", []Key{key(one)}, nil, ErrMissing, "verify signature: no signature"},
		{"envelope without signatures", []Key{key(one)}, edit(t, good, func(e *envelope) { e.Signatures = nil }), ErrMissing, "no signature"},
		{"no trusted keys", nil, good, ErrUntrusted, "is not trusted"},
		{"other key", []Key{key(two)}, good, ErrUntrusted, `key "` + id(t, one) + `" is not trusted`},
		{"expired key", until(now.Add(-1)), good, ErrUntrusted, "key " + id(t, one) + " was valid until 2026-11-22T11:59:59Z"},
		{"key of the future", from(now.Add(time.Hour)), good, ErrUntrusted, "key " + id(t, one) + " is valid from 2026-11-22T13:00:00Z"},
		{"changed signature", []Key{key(one)}, edit(t, good, func(e *envelope) { e.Signatures[0].Sig[0] ^= 1 }), ErrUntrusted, "key " + id(t, one) + " did not make this signature"},
		{"short signature", []Key{key(one)}, edit(t, good, func(e *envelope) { e.Signatures[0].Sig = []byte("x") }), ErrUntrusted, "did not make"},
		{"changed payload", []Key{key(one)}, edit(t, good, func(e *envelope) { e.Payload = bytes.Replace(e.Payload, []byte("vmlinux"), []byte("vmlinuz"), 1) }), ErrUntrusted, "did not make"},
		{"other payload type", []Key{key(one)}, edit(t, good, func(e *envelope) { e.PayloadType = "text/plain" }), nil, `payload is of type "text/plain"`},
		{"signed, but other payload type", []Key{key(one)}, resign(t, "text/plain", text), nil, `payload is of type "text/plain"`},
		{"other set by a trusted key", []Key{key(one)}, mustSign(t, manifest("other"), one), ErrOtherSet, "signature is for another artifact set: it is for sha256:"},
		{"other files of the same set ID", []Key{key(one)}, resign(t, payloadType, strings.Replace(text, "vmlinux", "vmlinuz", 1)), ErrOtherSet, "its files are not those of"},
		{"file missing", []Key{key(one)}, resign(t, payloadType, strings.Replace(text, `{"name":"x86_64/initrd","digest":{"sha256":"09e6c018d2c8c4903308613dd1b72484d57eadf12ec50ddc8f52e5accce470f2"}},`, "", 1)), ErrOtherSet, "its files are not those of"},
		{"file twice", []Key{key(one)}, resign(t, payloadType, strings.Replace(text, "x86_64/vmlinux", "x86_64/initrd", 1)), nil, `subject "x86_64/initrd" twice`},
		{"other predicate", []Key{key(one)}, resign(t, payloadType, strings.Replace(text, "artifact-set/v1", "artifact-set/v9", 1)), nil, "artifact-set/v9"},
		{"statement is no JSON", []Key{key(one)}, resign(t, payloadType, "x"), nil, "parse statement"},
		{"no JSON", []Key{key(one)}, []byte("<html>"), nil, "parse envelope"},
		{"two documents", []Key{key(one)}, append(bytes.Clone(good), good...), nil, "parse envelope"},
		{"too many signatures", []Key{key(one)}, edit(t, good, func(e *envelope) { e.Signatures = make([]dsseWitness, 17) }), nil, "17 signatures"},
		{"too long", []Key{key(one)}, make([]byte, MaxSize+1), nil, "want at most"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy, err := RequireSigned(test.keys...)
			if err != nil {
				t.Fatal(err)
			}
			err = policy.Verify(m, test.data, now)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got error %v, want %q, which is %v", err, test.want, test.is)
			}
		})
	}
}

// TestSwap swaps manifest and files together, as whoever controls the place where
// a set comes from could.
func TestSwap(t *testing.T) {
	policy, err := RequireSigned(Key{Public: public(testKey(1))})
	if err != nil {
		t.Fatal(err)
	}
	data := mustSign(t, manifest("kernel"), testKey(1))
	if err := policy.Verify(manifest("evil kernel"), data, time.Time{}); !errors.Is(err, ErrOtherSet) {
		t.Errorf("with the old signature: got error %v, want %v", err, ErrOtherSet)
	}
	data = mustSign(t, manifest("evil kernel"), testKey(9))
	if err := policy.Verify(manifest("evil kernel"), data, time.Time{}); !errors.Is(err, ErrUntrusted) {
		t.Errorf("with a new signature: got error %v, want %v", err, ErrUntrusted)
	}
}

func TestCheck(t *testing.T) {
	m := manifest("kernel")
	if err := Check(m, mustSign(t, m, testKey(9))); err != nil {
		t.Error(err)
	}
	if err := Check(m, mustSign(t, manifest("other"), testKey(9))); !errors.Is(err, ErrOtherSet) {
		t.Errorf("other set: got error %v, want %v", err, ErrOtherSet)
	}
	if err := Check(m, nil); !errors.Is(err, ErrMissing) {
		t.Errorf("no data: got error %v, want %v", err, ErrMissing)
	}
}

func TestRequireSignedRefuses(t *testing.T) {
	if _, err := RequireSigned(Key{Public: []byte("short")}); err == nil || !strings.Contains(err.Error(), "5 bytes, want 32") {
		t.Errorf("short key: got error %v", err)
	}
	key := Key{Public: public(testKey(1))}
	if _, err := RequireSigned(key, key); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("key twice: got error %v", err)
	}
}

func TestRead(t *testing.T) {
	got, err := Read(fstest.MapFS{FileName: {Data: []byte("x")}})
	if err != nil || string(got) != "x" {
		t.Errorf("got %q, error %v", got, err)
	}
	if _, err := Read(fstest.MapFS{}); !errors.Is(err, ErrMissing) {
		t.Errorf("missing: got error %v, want %v", err, ErrMissing)
	}
	if _, err := Read(fstest.MapFS{FileName: {Data: make([]byte, MaxSize+1)}}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too long: got error %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	m := manifest("kernel")
	good, err := Sign(m, testKey(1))
	if err != nil {
		f.Fatal(err)
	}
	policy, err := RequireSigned(Key{Public: public(testKey(1))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"","signatures":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if policy.Verify(m, data, time.Time{}) != nil {
			return
		}
		// What is taken has the bytes that were signed, however it is written.
		var got, want envelope
		if json.Unmarshal(data, &got) != nil || json.Unmarshal(good, &want) != nil || !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("%q is taken", data)
		}
	})
}
