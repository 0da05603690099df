package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
)

func TestLookUser(t *testing.T) {
	image := t.TempDir()
	imagetest.Place(t, image, "etc/")
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n# a comment\n\nweb:x:33:33::/var/www:/bin/false\nbad:x:-1:1::/:\nodd:x:44:45::/odd\n",
		"group":  "root:x:0:\nweb:x:33:\nlogs:x:50:adm,web\nshort:x\nnone:x:z:web\nmore:x:51:web",
	} {
		if err := os.WriteFile(filepath.Join(image, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is := func(home string, uid, gid uint32, groups ...uint32) user {
		return user{home: home, credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}
	}
	tests := []struct {
		spec    string
		want    user
		wantErr string
	}{
		{"", user{}, ""},
		{"root", is("/root", 0, 0), ""},
		{"0", is("/root", 0, 0), ""},
		{"web", is("/var/www", 33, 33, 50, 51), ""},
		{"33", is("/var/www", 33, 33, 50, 51), ""},
		{"web:", is("/var/www", 33, 33, 50, 51), ""},
		{"web:logs", is("/var/www", 33, 50), ""},
		{"web:1234", is("/var/www", 33, 1234), ""},
		{"odd", is("/odd", 44, 45), ""},
		{"1000", is("/", 1000, 0), ""},
		{"1000:100", is("/", 1000, 100), ""},
		{"4294967294", is("/", 1<<32-2, 0), ""},
		{"4294967295", user{}, `look for user "4294967295": not in /etc/passwd of the image`},
		{"-1", user{}, `look for user "-1": not in /etc/passwd of the image`},
		{"nobody", user{}, `look for user "nobody": not in /etc/passwd of the image`},
		{"web:nogroup", user{}, `look for user "web:nogroup": group is not in /etc/group of the image`},
		{"bad", user{}, `look for user "bad": no numbers in its line of /etc/passwd`},
		{":", user{}, `look for user ":": not in /etc/passwd of the image`},
	}
	root, err := inroot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, test := range tests {
		got, err := lookUser(test.spec, root)
		if (err == nil) != (test.wantErr == "") || err != nil && err.Error() != test.wantErr {
			t.Errorf("%q: got error %v, want %q", test.spec, err, test.wantErr)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(user{}), cmp.AllowUnexported(syscall.Credential{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.spec, diff)
		}
	}
}

// TestLookUserInOddImage has images without tables or with traps for them.
func TestLookUserInOddImage(t *testing.T) {
	tests := []struct {
		name    string
		image   []string
		spec    string
		wantErr string // how it ends
	}{
		{"empty, a number", nil, "7", ""},
		{"empty, a name", nil, "web", "not in /etc/passwd of the image"},
		{"FIFO", []string{"etc/", "etc/passwd|"}, "7", "/etc/passwd in the image is no regular file"},
		{"folder as a group table", []string{"etc/", "etc/group/"}, "7", "/etc/group in the image is no regular file"},
		{"file for a folder", []string{"etc"}, "7", ""},
		{"out of the image", []string{"etc/", "etc/passwd -> /../../../../../../etc/passwd"}, "root", "open /etc/passwd in the image: too many levels of symbolic links"},
	}
	for _, test := range tests {
		image := t.TempDir()
		imagetest.Place(t, image, test.image...)
		root, err := inroot.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lookUser(test.spec, root); (err == nil) != (test.wantErr == "") || err != nil && !strings.HasSuffix(err.Error(), test.wantErr) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.wantErr)
		}
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	}
}
