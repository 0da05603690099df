package layout

import (
	"bytes"
	"strings"
	"testing"
)

// 6ba7b810-9dad-11d1-80b4-00c04fd430c8, the name space for DNS of RFC 9562.
var dnsNamespace = ID{0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8}

func TestBase36(t *testing.T) {
	tests := []struct {
		id   ID
		want string
	}{
		{ID{}, strings.Repeat("0", 25)},
		{ID{15: 1}, strings.Repeat("0", 24) + "1"},
		{ID{15: 35}, strings.Repeat("0", 24) + "z"},
		{ID{15: 36}, strings.Repeat("0", 23) + "10"},
		{ID(bytes.Repeat([]byte{0xff}, 16)), "f5lxx1zz5pnorynqglhzmsp33"},
		{dnsNamespace, "6dfzh5ik5uxynzmlf5cshamdk"},
	}
	for _, test := range tests {
		if got := test.id.Base36(); got != test.want {
			t.Errorf("%v.Base36() = %s, want %s", test.id, got, test.want)
		}
		if got, err := ParseBase36(test.want); err != nil || got != test.id {
			t.Errorf("ParseBase36(%s) = %v, error %v, want %v", test.want, got, err, test.id)
		}
	}
}

func TestParseBase36Refuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", `parse ID "": 0 bytes, want 25`},
		{"short", strings.Repeat("0", 24), `24 bytes, want 25`},
		{"long", strings.Repeat("0", 26), `26 bytes, want 25`},
		{"overflow by one", "f5lxx1zz5pnorynqglhzmsp34", `more than 128 bits`},
		{"greatest number", strings.Repeat("z", 25), `more than 128 bits`},
		{"upper case", "F5lxx1zz5pnorynqglhzmsp33", `byte 0 is not in 0-9 and a-z`},
		{"sign", "-" + strings.Repeat("0", 24), `byte 0 is not`},
		{"underscore", strings.Repeat("0", 23) + "_1", `byte 23 is not`},
		{"25 bytes of other letters", strings.Repeat("\u00e9", 12) + "0", `byte 0 is not`},
		{"not UTF-8", strings.Repeat("0", 24) + "\xff", `byte 24 is not`},
	}
	for _, test := range tests {
		if got, err := ParseBase36(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, error %v, want %q", test.name, got, err, test.want)
		}
	}
}

func TestPrefix(t *testing.T) {
	for _, prefix := range []Prefix{
		SandboxPrefix, UserPrefix, TeamPrefix, KeyPrefix, HostPrefix, HostTokenPrefix, RefreshPrefix, AuditPrefix,
		BuildPrefix, PermissionPrefix, ChannelPrefix,
	} {
		text := prefix.Format(dnsNamespace)
		if want := string(prefix) + "6dfzh5ik5uxynzmlf5cshamdk"; text != want {
			t.Errorf("got %s, want %s", text, want)
		}
		if got, err := prefix.Parse(text); err != nil || got != dnsNamespace {
			t.Errorf("%s: got %v, error %v, want %v", text, got, err, dnsNamespace)
		}
	}
	tests := []struct{ name, text, want string }{
		{"no prefix", "6dfzh5ik5uxynzmlf5cshamdk", `no prefix "cl-"`},
		{"another prefix", "host-6dfzh5ik5uxynzmlf5cshamdk", `no prefix "cl-"`},
		{"prefix alone", "cl-", "0 bytes, want 25"},
		{"twice", "cl-cl-6dfzh5ik5uxynzmlf5cshamdk", "28 bytes, want 25"},
		{"path", "cl-../../../../../../../../x", "byte 0 is not"},
		{"overflow", "cl-" + strings.Repeat("z", 25), "more than 128 bits"},
	}
	for _, test := range tests {
		if got, err := SandboxPrefix.Parse(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, error %v, want %q", test.name, got, err, test.want)
		}
	}
}

func FuzzBase36(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(dnsNamespace[:])
	f.Add(bytes.Repeat([]byte{0xff}, 16))
	f.Fuzz(func(t *testing.T, data []byte) {
		var want ID
		copy(want[:], data)
		text := want.Base36()
		if len(text) != 25 {
			t.Errorf("%v has %d digits", want, len(text))
		}
		if got, err := ParseBase36(text); err != nil || got != want {
			t.Errorf("ParseBase36(%s) = %v, error %v, want %v", text, got, err, want)
		}
	})
}

func FuzzParseBase36(f *testing.F) {
	f.Add("6dfzh5ik5uxynzmlf5cshamdk")
	f.Add(strings.Repeat("z", 25))
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseBase36(text)
		if err == nil && id.Base36() != text {
			t.Errorf("ParseBase36(%q) = %v, which is %s", text, id, id.Base36())
		}
	})
}
