package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPack(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("long", 40)
	f.write("root/usr/bin/su", "su")
	f.write("root/home/me/secret", "of the machine's own folders")
	f.write("root/etc/"+long, "")
	in := func(name string) string { return filepath.Join(f.dir, "root", name) }
	for _, err := range []error{
		os.Mkdir(in("dev"), 0o755),
		os.Link(in("usr/bin/su"), in("usr/bin/us")),
		os.Symlink("usr/bin", in("bin")),
		os.Chmod(in("usr/bin/su"), 0o755|fs.ModeSetuid),
		os.Chtimes(in("usr/bin/su"), time.Time{}, time.Unix(1e9, 5)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var archives [2]bytes.Buffer
	for i := range archives {
		if err := pack(&archives[i], in("")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0].Bytes(), archives[1].Bytes()) {
		t.Error("packing twice gives two archives")
	}
	plain, err := gzip.NewReader(&archives[0])
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(plain)
	var got []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s belongs to somebody: %+v", h.Name, h)
		}
		if h.Name == "./usr/bin/su" && h.ModTime.Unix() != 1e9 {
			t.Errorf("%s has time %v", h.Name, h.ModTime)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%c %04o %s %d %s", h.Typeflag, h.Mode, h.Name, h.Size, h.Linkname)))
	}
	want := []string{
		"2 0777 ./bin 0 usr/bin",
		"5 0755 ./etc 0",
		"0 0644 ./etc/" + long + " 0",
		"5 0755 ./usr 0",
		"5 0755 ./usr/bin 0",
		"0 4755 ./usr/bin/su 2",
		"1 4755 ./usr/bin/us 0 ./usr/bin/su",
		"5 0755 ./dev 0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}
