package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestParseBzImageRejects(t *testing.T) {
	good := goodKernel(t)
	payloadEnd := len(good) - 8
	tests := []struct {
		name   string
		change func(image []byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "0 bytes are too few for a kernel"},
		{"cut in the header", func(b []byte) []byte { return b[:headerEnd-1] }, "591 bytes are too few for a kernel"},
		{"cut behind the header", func(b []byte) []byte { return b[:headerEnd] }, "payload of "},
		{"cut in the set-up code", func(b []byte) []byte { return b[:3*sector] }, "payload of "},
		{"cut in the payload", func(b []byte) []byte { return b[:payloadEnd-1] }, "payload of "},
		{"no magic", func(b []byte) []byte { b[offsetMagic] = 'h'; return b }, `no bzImage: magic is "hdrS", want "HdrS"`},
		{"arm64 Image", func(b []byte) []byte { copy(b[56:], "ARM\x64"); return b }, "it is an arm64 Image, want an x86 bzImage"},
		{"old boot protocol", func(b []byte) []byte { b[offsetVersion] = 7; return b }, "boot protocol is 0x207, want at least 0x208"},
		{"payload longer than the file", func(b []byte) []byte { b[offsetPayloadLength+3] = 0xff; return b }, "payload of "},
		{"payload behind the file", func(b []byte) []byte { copy(b[offsetPayload:], "\xff\xff\xff\xff"); return b }, "payload of "},
		{"sum beyond 32 bits", func(b []byte) []byte {
			copy(b[offsetPayload:], "\xff\xff\xff\xff\xff\xff\xff\xff") // its length follows
			return b
		}, "payload of 4294967295 bytes at 4294968831 is outside of the file's "},
		{"version text behind the file", func(b []byte) []byte { copy(b[offsetKernelVersion:], "\xff\xff"); return b }, "version text at 66047 is outside of the file"},
		{"version text empty", func(b []byte) []byte { b[fixtureVersion] = 0; return b }, "no version text at 768"},
		{"version text starts with a space", func(b []byte) []byte { b[fixtureVersion] = ' '; return b }, "no version text at 768"},
		{"version text has no end", func(b []byte) []byte {
			for i := fixtureVersion; i < len(b); i++ {
				if b[i] == 0 {
					b[i] = 'x'
				}
			}
			return b
		}, "no version text at 768"},
	}
	for _, test := range tests {
		if _, err := parseBzImage(test.change(bytes.Clone(good))); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
	}
}

// TestParseBzImageDefault checks the meaning of no set-up sectors.
func TestParseBzImageDefault(t *testing.T) {
	image := append(goodKernel(t), make([]byte, 8*sector)...)
	image[offsetSetupSects] = 0
	binary.LittleEndian.PutUint32(image[offsetPayload:], 0)
	binary.LittleEndian.PutUint32(image[offsetPayloadLength:], 4)
	copy(image[5*sector:], "here")
	got, err := parseBzImage(image)
	if string(got.payload) != "here" || got.release != release || err != nil {
		t.Errorf("got payload %q of %q, %v, want %q of %q", got.payload, got.release, err, "here", release)
	}
}

// TestCutBzImage cuts a good kernel everywhere.
func TestCutBzImage(t *testing.T) {
	image := goodKernel(t)
	for size := range len(image) - 8 { // what is behind the payload may go
		if kernel, err := parseBzImage(image[:size]); err == nil {
			t.Errorf("cut at %d: got a kernel %q", size, kernel.release)
		}
	}
}

func TestUnpackRejects(t *testing.T) {
	image := vmlinux(pvh)
	packed := map[string][]byte{"lz4": lz4Of(t, image), "zstd": zstdOf(t, image)}
	const noEnd = "payload does not end after the "
	for name, packed := range packed {
		flipped := bytes.Clone(packed)
		flipped[4] ^= 0xff // lz4: the size of the block; zstd: the frame's header
		tests := []struct {
			name    string
			payload []byte
			want    string
		}{
			{"size is one less", sized(packed, len(image)-1), noEnd},
			{"size is nothing", sized(packed, 0), noEnd},
			{"size is one more", sized(packed, len(image)+1), "decompress payload: unexpected EOF"},
			{"size is the limit", sized(packed, maxKernel), "decompress payload: unexpected EOF"},
			{"size is over the limit", sized(packed, maxKernel+1), "payload unpacks to 268435457 bytes, want at most 268435456"},
			{"bytes behind the payload", sized(append(bytes.Clone(packed), "garbage!"...), len(image)), noEnd},
			{"cut", sized(packed[:len(packed)-1], len(image)), "decompress payload: "},
			{"cut behind the magic", sized(packed[:4], len(image)), "decompress payload: "},
			{"damaged", sized(flipped, len(image)), "decompress payload: "},
		}
		for _, test := range tests {
			if _, err := (bzImage{payload: test.payload}).unpack(); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%s: %s: got error %v, want %s", name, test.name, err, test.want)
			}
		}
	}
	for _, test := range []struct{ payload, want string }{
		{"", "payload has 0 bytes"},
		{"\x02\x21\x4c\x18\x00\x00\x00", "payload has 7 bytes"},
		{"\x00\x00\x00\x00\x00\x00\x00\x00", "payload has unknown magic 00000000, want lz4 or zstd"},
		{"\x04\x22\x4d\x18\x00\x00\x00\x00", "payload has unknown magic 04224d18, want lz4 or zstd"}, // an lz4 frame of today
	} {
		if _, err := (bzImage{payload: []byte(test.payload)}).unpack(); err == nil || err.Error() != test.want {
			t.Errorf("%x: got error %v, want %s", test.payload, err, test.want)
		}
	}
}

func FuzzBzImage(f *testing.F) {
	image := vmlinux(pvh)
	f.Add(goodKernel(f))
	f.Add(bzImageOf(sized(zstdOf(f, image), len(image))))
	f.Fuzz(func(t *testing.T, data []byte) {
		kernel, err := parseBzImage(data)
		if err != nil {
			return
		}
		if kernel.release == "" || strings.ContainsAny(kernel.release, " \x00") {
			t.Errorf("release = %q", kernel.release)
		}
		// A size that is announced is allocated, up to maxKernel: too slow here.
		if n := len(kernel.payload); n >= 4 && binary.LittleEndian.Uint32(kernel.payload[n-4:]) > 1<<20 {
			return
		}
		_, _ = kernel.unpack()
	})
}
