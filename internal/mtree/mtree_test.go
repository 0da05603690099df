package mtree

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

func entries() []Entry {
	return []Entry{
		{Path: ".", Type: "dir", Mode: 0o1777, UID: 1, GID: 2},
		{Path: "a b#*?[\\\n\xff", Type: "file", Mode: 0o4755, SHA256: digest, Size: 3, Nlink: 2},
		{Path: "init", Type: "file", Mode: 0o555},
		{Path: "sh", Type: "link", Mode: 0o777, Target: "/bin/b sh", UID: 1<<32 - 1},
	}
}

const listing = `#mtree
. type=dir mode=1777 uid=1 gid=2
./a\040b\043\052\077\133\134\012\377 type=file mode=4755 uid=0 gid=0 size=3 sha256digest=` + digest + ` nlink=2
./init type=file mode=0555 uid=0 gid=0
./sh type=link mode=0777 uid=4294967295 gid=0 link=/bin/b\040sh
`

func TestWriteAndParse(t *testing.T) {
	var got bytes.Buffer
	w := NewWriter(&got)
	for _, entry := range entries() {
		if err := w.Write(&entry); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(listing, got.String()); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	parsed, err := Parse(&got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries(), parsed); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if none, err := Parse(strings.NewReader("")); err != nil || none != nil {
		t.Errorf("empty listing = %v, %v", none, err)
	}
}

func TestParseRejects(t *testing.T) {
	const meta = " type=file mode=0644 uid=0 gid=0"
	tests := []struct{ name, line, want string }{
		{"no path", meta, `line 2: path is "", want ./...`},
		{"absolute", "/a" + meta, `line 2: path is "/a", want ./...`},
		{"twice", "./a" + meta + "\n./a" + meta, `line 3: "a" stands twice`},
		{"escape cut short", `./\04` + meta, `line 2: "./\\04" ends within an escape`},
		{"escape of no byte", `./\777` + meta, `line 2: "\\777" is not an octal escape`},
		{"no type", "./a mode=0644 uid=0 gid=0", `line 2: "a": keyword type is missing`},
		{"unknown type", "./a type=fifo mode=0644 uid=0 gid=0", `line 2: "a": keyword type: type "fifo" is not one of file, dir, link`},
		{"keyword twice", "./a" + meta + " uid=1", `line 2: "a": keyword uid stands twice`},
		{"unknown keyword", "./a" + meta + " flags=none", `line 2: "a": keyword flags: it is unknown`},
		{"mode", "./a type=file mode=10000 uid=0 gid=0", `line 2: "a": keyword mode: strconv.ParseUint: parsing "10000": value out of range`},
		{"negative", "./a type=file mode=0644 uid=-1 gid=0", `line 2: "a": keyword uid: strconv.ParseUint: parsing "-1": invalid syntax`},
		{"digest", "./a" + meta + " size=1 sha256digest=AB", `line 2: "a": keyword sha256digest: "AB" is not 64 lower-case hexadecimal digits`},
		{"size alone", "./a" + meta + " size=1", `line 2: "a": keywords do not fit type file`},
		{"link without target", "./a type=link mode=0777 uid=0 gid=0", `line 2: "a": keywords do not fit type link`},
		{"target without link", "./a" + meta + " link=b", `line 2: "a": keywords do not fit type file`},
		{"long line", "./" + strings.Repeat("a", maxLine), "line 2: bufio.Scanner: token too long"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(signature + "\n" + test.line + "\n"))
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
	if _, err := Parse(strings.NewReader("./a" + meta)); err == nil || !strings.HasSuffix(err.Error(), "want #mtree") {
		t.Errorf("no signature: got error %v", err)
	}
}

func TestCompare(t *testing.T) {
	walk := []string{".", "a", "a/b", "a/b/c", "a/c", "a-b", "a-b/c", "ab", "b"}
	for i, a := range walk {
		for j, b := range walk {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := Compare(a, b); got != want {
				t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(listing)
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := Parse(strings.NewReader(text))
		if err != nil || len(entries) == 0 {
			return
		}
		var again bytes.Buffer
		w := NewWriter(&again)
		for _, entry := range entries {
			if err := w.Write(&entry); err != nil {
				t.Fatal(err)
			}
		}
		parsed, err := Parse(&again)
		if err != nil {
			t.Fatalf("what was written does not parse: %v", err)
		}
		if diff := cmp.Diff(entries, parsed); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
	})
}
