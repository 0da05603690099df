package execlog

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is one as Bazel 7 writes it, with one field that no version has.
const entry = `{
  "commandArgs": ["external/go/bin/builder", "compile", "-o", "bazel-out/x.a"],
  "environmentVariables": [{
    "name": "PATH",
    "value": "/bin:/usr/bin"
  }],
  "platform": {
    "properties": [{
      "name": "OSFamily",
      "value": "Linux"
    }]
  },
  "inputs": [{
    "path": "x/x.go",
    "digest": {
      "hash": "fe7768ff89866638f083d7146ecb73b2ee2e752bb7615ed6ebd6736cf082414a",
      "sizeBytes": "5141",
      "hashFunctionName": "SHA-256"
    },
    "isTool": false,
    "symlinkTargetPath": ""
  }, {
    "path": "x/link",
    "isTool": false,
    "symlinkTargetPath": "x.go"
  }],
  "listedOutputs": ["bazel-out/x.a"],
  "remotable": true,
  "cacheable": true,
  "timeoutMillis": "300000",
  "mnemonic": "GoCompilePkg",
  "actualOutputs": [{
    "path": "bazel-out/x.a",
    "digest": {
      "hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "sizeBytes": "0",
      "hashFunctionName": "SHA-256"
    },
    "isTool": false,
    "symlinkTargetPath": ""
  }],
  "runner": "remote cache hit",
  "cacheHit": true,
  "status": "",
  "exitCode": 0,
  "remoteCacheable": true,
  "targetLabel": "//x:x",
  "digest": {
    "hash": "5082ab9e4fcda43d537ce13d1c6c5e4c712d0caa87412715d5e1226189b70d5b",
    "sizeBytes": "153",
    "hashFunctionName": "SHA256"
  },
  "metrics": {
    "totalTime": "0.359s",
    "inputBytes": "0"
  },
  "fieldOfTheFuture": [1, {"two": null}]
}`

// short is the least that an entry must have.
const short = `{"mnemonic": "M"}`

func readAll(log string) ([]Spawn, error) {
	var spawns []Spawn
	reader := NewReader(strings.NewReader(log))
	for {
		spawn, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return spawns, nil
		}
		if err != nil {
			return spawns, err
		}
		spawns = append(spawns, *spawn)
	}
}

func TestRead(t *testing.T) {
	const hash = "fe7768ff89866638f083d7146ecb73b2ee2e752bb7615ed6ebd6736cf082414a"
	want := Spawn{
		Args:     []string{"external/go/bin/builder", "compile", "-o", "bazel-out/x.a"},
		Env:      []Variable{{"PATH", "/bin:/usr/bin"}},
		Platform: Platform{[]Variable{{"OSFamily", "Linux"}}},
		Inputs: []File{
			{Path: "x/x.go", Digest: Digest{hash, "5141"}},
			{Path: "x/link", Target: "x.go"},
		},
		ListedOutputs: []string{"bazel-out/x.a"},
		Outputs: []File{{
			Path:   "bazel-out/x.a",
			Digest: Digest{"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "0"},
		}},
		Remotable:       true,
		Cacheable:       true,
		RemoteCacheable: true,
		TimeoutMillis:   "300000",
		Mnemonic:        "GoCompilePkg",
		Label:           "//x:x",
		Runner:          "remote cache hit",
		CacheHit:        true,
		Key:             Digest{"5082ab9e4fcda43d537ce13d1c6c5e4c712d0caa87412715d5e1226189b70d5b", "153"},
	}
	tests := []struct {
		name, log string
		want      []Spawn
	}{
		{"nothing", "", nil},
		{"space", " \n\n", nil},
		{"one entry", entry, []Spawn{want}},
		{"entries without anything between", entry + entry, []Spawn{want, want}},
		{"entries on lines", short + "\n" + short + "\n", []Spawn{{Mnemonic: "M"}, {Mnemonic: "M"}}},
		{
			"a size without quotes", `{"mnemonic": "M", "digest": {"sizeBytes": 3}}`,
			[]Spawn{{Mnemonic: "M", Key: Digest{Size: "3"}}},
		},
	}
	for _, test := range tests {
		got, err := readAll(test.log)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestReadRejects(t *testing.T) {
	tests := []struct{ name, log, want string }{
		{"no JSON", "\x28\xb5\x2f\xfd", "read entry 1 at byte 0: invalid character"},
		{"wrong byte in the first entry", `{"mnemonic" "M"}`, `read entry 1 at byte 12: invalid character '"' after object key`},
		{"wrong byte in the second entry", short + "\n" + `{"mnemonic" "M"}`, `read entry 2 at byte 30: invalid character '"' after object key`},
		{"wrong byte between entries", short + ", " + short, "read entry 2 at byte 17: invalid character ','"},
		{"cut in an entry", short + "\n" + short[:9], "read entry 2 at byte 17: unexpected EOF"},
		{"wrong type", short + "\n" + `{"mnemonic": 3}`, "read entry 2 at byte 32: json: cannot unmarshal number"},
		{
			"a size that is no number", `{"mnemonic": "M", "digest": {"sizeBytes": "big"}}`,
			"read entry 1 at byte 0: json: invalid number literal",
		},
		{"an array of entries", "[" + short + "]", "read entry 1 at byte 1: json: cannot unmarshal array"},
		{"null", "null", "read entry 1 at byte 0: it has no mnemonic, so it is no command"},
		{"another log of Bazel's", `{"id": {"started": {}}}`, "read entry 1 at byte 0: it has no mnemonic, so it is no command"},
	}
	for _, test := range tests {
		if _, err := readAll(test.log); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: got error %v, want %s", test.name, err, test.want)
		}
	}
}

// TestReadFails checks that an error of the file is told, and not taken for the
// log's end.
func TestReadFails(t *testing.T) {
	broken := errors.New("disk is broken")
	reader := NewReader(io.MultiReader(strings.NewReader(short), errorReader{broken}))
	if _, err := reader.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Next(); !errors.Is(err, broken) {
		t.Errorf("got error %v, want %v", err, broken)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestContent(t *testing.T) {
	tests := []struct {
		file File
		want string
	}{
		{File{Digest: Digest{"ab", "1"}}, "ab"},
		{File{Digest: Digest{"e3", "0"}}, "empty file"},
		{File{}, "empty file"},
		{File{Target: "x"}, "symlink to x"},
	}
	for _, test := range tests {
		if got := test.file.Content(); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.file, got, test.want)
		}
	}
}

func TestSummary(t *testing.T) {
	var got Summary
	for _, spawn := range []Spawn{
		{Runner: "remote cache hit", CacheHit: true, Cacheable: true, RemoteCacheable: true},
		{Runner: "disk cache hit", CacheHit: true, Cacheable: true},
		{Runner: "linux-sandbox", Cacheable: true, RemoteCacheable: true},
		{Runner: "linux-sandbox"},
	} {
		got.Add(&spawn)
	}
	runners := map[string]int{"remote cache hit": 1, "disk cache hit": 1, "linux-sandbox": 2}
	want := Summary{Spawns: 4, Shared: 2, Hits: 1, Runners: runners}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(entry)
	f.Add(short + "\n" + short)
	f.Add("[" + short + "]")
	f.Fuzz(func(t *testing.T, log string) {
		spawns, err := readAll(log)
		for _, spawn := range spawns {
			if spawn.Mnemonic == "" {
				t.Error("entry without mnemonic")
			}
		}
		if err != nil && !strings.HasPrefix(err.Error(), "read entry ") {
			t.Errorf("error %v names no entry", err)
		}
	})
}
