package etcfiles

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/inroot/imagetest"
	"github.com/kindling-vm/kindling/guest/internal/nstest"
)

// newImage makes an image beside a folder that must stay empty.
func newImage(t *testing.T, things ...string) (image string, root *inroot.Root) {
	t.Helper()
	base := imagetest.RealPath(t, t.TempDir())
	image = filepath.Join(base, "image")
	imagetest.Place(t, base, "outside/", "image/")
	imagetest.Place(t, image, things...)
	root, err := inroot.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string(nil), imagetest.Tree(t, filepath.Join(base, "outside"))); diff != "" {
			t.Errorf("made outside of the image (-want +got):\n%s", diff)
		}
	})
	return image, root
}

func checkFile(t *testing.T, file, want string) {
	t.Helper()
	if info, err := os.Lstat(file); err != nil || info.Mode() != 0o644 {
		t.Errorf("%s: got %v, %v, want a regular file with mode 644", file, info, err)
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && err.Error() != want {
		t.Errorf("got error %v, want %q", err, want)
	}
}

func TestWriteResolvConf(t *testing.T) {
	tests := []struct {
		name    string
		servers []string
		want    string
		wantErr string
	}{
		{"one", []string{"1.1.1.1"}, "nameserver 1.1.1.1\n", ""},
		{"of both families", []string{"10.0.0.53", "fd00::53", "fe80::1%eth0"}, "nameserver 10.0.0.53\nnameserver fd00::53\nnameserver fe80::1%eth0\n", ""},
		{"none", nil, "old", ""},
		{"empty", []string{"", ""}, "old", ""},
		{"no address", []string{"dns.example"}, "old", `parse name server: ParseAddr("dns.example"): unexpected character (at "dns.example")`},
		{"another line", []string{"1.1.1.1\noptions rotate", "8.8.8.8"}, "nameserver 8.8.8.8\n", `parse name server: ParseAddr("1.1.1.1\noptions rotate"): unexpected character (at "\noptions rotate")`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			image, root := newImage(t, "etc/")
			file := filepath.Join(image, "etc/resolv.conf")
			if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			checkError(t, WriteResolvConf(root, test.servers), test.wantErr)
			checkFile(t, file, test.want)
		})
	}
}

// TestWriteResolvConfHostile has the images of which a write that follows links
// writes elsewhere, into a disk for one.
func TestWriteResolvConfHostile(t *testing.T) {
	tests := []struct {
		name    string
		image   []string
		want    string
		wantErr string
	}{
		{"no /etc", nil, "etc/resolv.conf", ""},
		{"link to a disk", []string{"etc/", "etc/resolv.conf -> /dev/vda", "dev/", "dev/vda"}, "etc/resolv.conf", ""},
		{"systemd's link", []string{"etc/", "etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf"}, "etc/resolv.conf", ""},
		{"link out", []string{"etc/", "etc/resolv.conf -> ../../outside/made"}, "etc/resolv.conf", ""},
		{"directory", []string{"etc/resolv.conf/deep/"}, "etc/resolv.conf", ""},
		{"FIFO", []string{"etc/", "etc/resolv.conf|"}, "etc/resolv.conf", ""},
		{"/etc is the root", []string{"etc -> /"}, "resolv.conf", ""},
		{"/etc leads out", []string{"etc -> ../outside"}, "", "write /etc/resolv.conf in the image: open /etc in the image: no such file or directory"},
		{"/etc is a loop", []string{"etc -> etc"}, "", "write /etc/resolv.conf in the image: open /etc in the image: too many levels of symbolic links"},
		{"/etc is a file", []string{"etc"}, "", "write /etc/resolv.conf in the image: open /etc in the image: not a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			image, root := newImage(t, test.image...)
			checkError(t, WriteResolvConf(root, []string{"1.1.1.1"}), test.wantErr)
			if test.want != "" {
				checkFile(t, filepath.Join(image, test.want), "nameserver 1.1.1.1\n")
			}
			if disk := filepath.Join(image, "dev/vda"); strings.Contains(test.name, "disk") {
				checkFile(t, disk, "content of the image")
			}
		})
	}
}

func TestHosts(t *testing.T) {
	tests := []struct{ name, old, host, addr, want string }{
		{"no file", "", "web", "10.0.0.2", "10.0.0.2\tweb\t# set at boot\n127.0.0.1\tlocalhost\t# set at boot\n::1\tlocalhost ip6-localhost ip6-loopback\t# set at boot\n"},
		{"long name", "127.0.0.1 localhost\n::1 localhost\n", "web.example.org", "fd00::2", "fd00::2\tweb.example.org web\t# set at boot\n127.0.0.1 localhost\n::1 localhost\n"},
		{"own lines stay", "# by hand\n\n10.9.9.9 db # the database", "web", "10.0.0.2", "10.0.0.2\tweb\t# set at boot\n127.0.0.1\tlocalhost\t# set at boot\n::1\tlocalhost ip6-localhost ip6-loopback\t# set at boot\n# by hand\n\n10.9.9.9 db # the database\n"},
		{"comment is no entry", "# 127.0.0.1 localhost\n127.0.0.1\n::1 localhost\n", "web", "127.0.1.1", "127.0.1.1\tweb\t# set at boot\n127.0.0.1\tlocalhost\t# set at boot\n# 127.0.0.1 localhost\n127.0.0.1\n::1 localhost\n"},
	}
	for _, test := range tests {
		got := hosts([]byte(test.old), test.host, netip.MustParseAddr(test.addr))
		if diff := cmp.Diff(test.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// FuzzHosts checks that the next boot finds its lines and only these.
func FuzzHosts(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost\n10.0.0.1 old\t# set at boot\n\t# set at boot"))
	f.Add([]byte("\x00\r\n#\t# set at boot\r\n"))
	addr := netip.MustParseAddr("10.0.0.2")
	f.Fuzz(func(t *testing.T, old []byte) {
		once := hosts(old, "web", addr)
		if twice := hosts(once, "web", addr); !bytes.Equal(once, twice) {
			t.Errorf("second boot changes %q to %q", once, twice)
		}
	})
}

func TestCheckHostname(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, name := range []string{"a", "A-9", "web.example.org", "0", long, long + ".", long + ".b"} {
		want := name != long+"." && name != long+".b"
		if err := checkHostname(name); (err == nil) != want {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "a b", "a\n", "a_b", "a/b", "caf\u00e9", "\u212a", "a\x00", long + "aa", "[", "`", "{", "@"} {
		if err := checkHostname(name); err == nil {
			t.Errorf("%q: got no error", name)
		}
	}
}

func TestSetHostname(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWUTS) {
		return
	}
	image, root := newImage(t, "etc/", "etc/hostname -> /dev/vda", "etc/hosts")
	if err := os.WriteFile(filepath.Join(image, "etc/hosts"), []byte("127.0.0.1 localhost\n::1 localhost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The second boot is with another address.
	for _, address := range []string{"10.0.0.2", ""} {
		checkError(t, SetHostname(root, "web-1", address), "")
	}
	if got, err := os.Hostname(); got != "web-1" || err != nil {
		t.Errorf("host name = %q, %v", got, err)
	}
	checkFile(t, filepath.Join(image, "etc/hostname"), "web-1\n")
	checkFile(t, filepath.Join(image, "etc/hosts"), "127.0.1.1\tweb-1\t# set at boot\n127.0.0.1 localhost\n::1 localhost\n")

	checkError(t, SetHostname(root, "", "10.0.0.2"), "")
	checkError(t, SetHostname(root, "not a name", ""), `host name "not a name" is none of up to 64 letters, digits, dots and inner hyphens`)
	checkError(t, SetHostname(root, "web-2", "here"), `parse address of web-2: ParseAddr("here"): unable to parse IP`)
	if got, err := os.Hostname(); got != "web-1" || err != nil {
		t.Errorf("host name = %q, %v", got, err)
	}
}

func TestSetHostnameHostile(t *testing.T) {
	if !nstest.Inside(t, unix.CLONE_NEWUTS) {
		return
	}
	image, root := newImage(t, "etc/", "etc/hosts|", "etc/hostname/deep/")
	err := SetHostname(root, "web", "10.0.0.2")
	if err == nil || !strings.HasPrefix(err.Error(), "/etc/hosts in the image is no regular file") {
		t.Errorf("got error %v, want one of /etc/hosts", err)
	}
	checkFile(t, filepath.Join(image, "etc/hostname"), "web\n")
	checkFile(t, filepath.Join(image, "etc/hosts"), string(hosts(nil, "web", netip.MustParseAddr("10.0.0.2"))))
}
