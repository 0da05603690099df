package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/internal/kernelimage"
	"github.com/kindling-vm/kindling/tools/internal/elfcheck/elftest"
)

func TestModulesDep(t *testing.T) {
	tests := []struct {
		name    string
		modules []entry
		want    string // modules.dep
		wantErr string
	}{
		{"no dependency", []entry{ko("a.ko", "")}, "a.ko:\n", ""},
		{"sorted by path", []entry{ko("z/a.ko", ""), ko("a/z.ko", ""), ko("a-b.ko", "")}, "a-b.ko:\na/z.ko:\nz/a.ko:\n", ""},
		{"chain: first to load stands last", []entry{ko("a.ko", "b"), ko("b.ko", "c"), ko("c.ko", "")}, "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\n", ""},
		{"diamond: each once", []entry{ko("a.ko", "b,c"), ko("b.ko", "d"), ko("c.ko", "d"), ko("d.ko", "")}, "a.ko: c.ko b.ko d.ko\nb.ko: d.ko\nc.ko: d.ko\nd.ko:\n", ""},
		{"named twice", []entry{ko("a.ko", "b,b"), ko("b.ko", "")}, "a.ko: b.ko\nb.ko:\n", ""},
		{"dashes and underscores", []entry{ko("x-y.ko", "v-w"), ko("v_w.ko", "")}, "v_w.ko:\nx-y.ko: v_w.ko\n", ""},
		{"no modules", []entry{file("lib/modules/"+release+"/modules.builtin", nil)}, "", ""},

		{"missing", []entry{ko("a.ko", "b,c"), ko("b.ko", "")}, "", "module a needs c, which the package does not have"},
		{"without a name", []entry{ko("a.ko", "b,,b"), ko("b.ko", "")}, "", "module a needs , which the package does not have"},
		{"itself", []entry{ko("a.ko", "a")}, "", "modules depend on each other: a, a"},
		{"cycle", []entry{ko("a.ko", "b"), ko("b.ko", "c"), ko("c.ko", "a")}, "", "modules depend on each other: a, b, c, a"},
		{"cycle further on", []entry{ko("a.ko", "b"), ko("b.ko", "c"), ko("c.ko", "b")}, "", "modules depend on each other: a, b, c, b"},
		{"twice", []entry{ko("kernel/x-y.ko", ""), ko("updates/x_y.ko", "")}, "", "module x_y stands twice: kernel/x-y.ko and updates/x_y.ko"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := func() error {
				index := newModuleIndex(&out, "x86_64")
				for _, module := range test.modules {
					if err := index.add(module.Name[2:], module.Size, bytes.NewReader(module.body)); err != nil {
						return err
					}
				}
				return index.finish(release)
			}()
			if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
				t.Fatalf("got error %v, want %q", err, test.wantErr)
			}
			if err != nil {
				return
			}
			files := untar(t, out.Bytes())
			got := strings.TrimPrefix(files[len(files)-2], "lib/modules/"+release+"/modules.dep: ")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("modules.dep (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddRejects(t *testing.T) {
	tests := []struct {
		name, file string
		size       int64
		want       string
	}{
		{"gzip", "a.ko.gz", 0, "unpack module lib/modules/7/a.ko.gz: compression .gz is not supported"},
		{"too large", "a.ko", kernelimage.MaxSize + 1, "read lib/modules/7/a.ko: 268435457 bytes, want at most 268435456"},
		{"shorter than announced", "a.ko", 1, "read lib/modules/7/a.ko: EOF"},
		{"not for this", "kernel/a.konfig", kernelimage.MaxSize + 1, ""},
	}
	for _, test := range tests {
		index := newModuleIndex(io.Discard, "x86_64")
		err := index.add("lib/modules/7/"+test.file, test.size, bytes.NewReader(nil))
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestModuleNeeds(t *testing.T) {
	good := module("depends=a\x00")
	// changed is a module with a field of the section's header changed.
	changed := func(data []byte, offset int, value uint64) []byte {
		data = bytes.Clone(data)
		binary.LittleEndian.PutUint64(data[len(data)-2*64+offset:], value)
		return data
	}
	compressed := module("\x01\x00\x00\x00\x00\x00\x00\x00" + strings.Repeat("\x01\x00\x00\x00\x00\x00\x00\x00", 2) + "zlib")
	tests := []struct {
		name    string
		data    []byte
		want    []string
		wantErr string
	}{
		{"one", good, []string{"a"}, ""},
		{"several", module("alias=x\x00depends=a,b-c,d_e\x00name=y\x00"), []string{"a", "b_c", "d_e"}, ""},
		{"none", module("depends=\x00"), nil, ""},
		{"not said", module("name=x\x00"), nil, ""},
		{"in another text", module("description=depends=a\x00depends=b\x00"), []string{"b"}, ""},
		{"no NUL at the end", module("depends=a"), []string{"a"}, ""},
		{"nothing said", module(""), nil, ""},
		{"no section", elftest.Module(elf.EM_X86_64, ""), nil, "no .modinfo section"},
		{"no ELF", []byte("x"), nil, "EOF"},
		{"section compressed", changed(compressed, 8, uint64(elf.SHF_COMPRESSED)), nil, ".modinfo section is compressed"},
		{"section too large", changed(good, 32, maxModinfo+1), nil, ".modinfo section has 1048577 bytes, want at most 1048576"},
		{"section outside of the file", changed(good, 24, 1<<40), nil, "read .modinfo: EOF"},
	}
	for _, test := range tests {
		got, err := moduleNeeds(test.data)
		if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.wantErr)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: needs (-want +got):\n%s", test.name, diff)
		}
	}
}

func FuzzModuleNeeds(f *testing.F) {
	f.Add(module("depends=a,b\x00"))
	f.Add(module(fmt.Sprintf("a=%s\x00depends=\x00", strings.Repeat("x", 100))))
	f.Fuzz(func(t *testing.T, data []byte) {
		needs, err := moduleNeeds(data)
		if err != nil && needs != nil {
			t.Errorf("got %q and error %v", needs, err)
		}
	})
}
