package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// copyFrom describes the messages of a call.
func copyFrom(t *testing.T, client guestpb.GuestServiceClient, path string, follow bool) (messages []string) {
	t.Helper()
	stream, err := client.CopyFromGuest(limited(t), &guestpb.CopyFromGuestRequest{Path: path, FollowLinks: follow})
	if err != nil {
		t.Fatal(err)
	}
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return messages
		}
		if err != nil {
			t.Fatal(err)
		}
		switch resp := resp.GetResponse().(type) {
		case *guestpb.CopyFromGuestResponse_Header:
			h := resp.Header
			text := fmt.Sprintf("%s %04o %06o %d", h.GetPath(), h.GetMode(), h.GetUnixMode(), h.GetMtime())
			switch {
			case h.GetIsDir():
				text += " dir"
			case h.GetIsSymlink():
				text += " -> " + h.GetLinkTarget()
			default:
				text += fmt.Sprint(" size ", h.GetSize())
			}
			if h.GetUid() != uint32(os.Getuid()) || h.GetGid() != uint32(os.Getgid()) {
				text += fmt.Sprintf(" owner %d:%d", h.GetUid(), h.GetGid())
			}
			messages = append(messages, text)
		case *guestpb.CopyFromGuestResponse_Data:
			if n := len(resp.Data); n == 0 || n > chunkSize {
				t.Errorf("got a message of %d bytes, want 1 to %d", n, chunkSize)
			}
			messages = append(messages, fmt.Sprintf("data %d %.5s", len(resp.Data), resp.Data))
		case *guestpb.CopyFromGuestResponse_End:
			messages = append(messages, fmt.Sprint("end ", resp.End.GetFinal()))
		case *guestpb.CopyFromGuestResponse_Error:
			messages = append(messages, fmt.Sprintf("error %q of %q", resp.Error.GetMessage(), resp.Error.GetPath()))
		}
	}
}

func TestCopyFromGuest(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(dir+"/tree", 0o700),
		os.Mkdir(dir+"/tree/b", 0o700),
		os.WriteFile(dir+"/tree/b/large", []byte(strings.Repeat("x", 2*chunkSize+1)), 0o600),
		os.WriteFile(dir+"/tree/b-", []byte("minus"), 0o600),
		os.WriteFile(dir+"/tree/a\nb", nil, 0o600),
		os.Symlink("b", dir+"/tree/link"),
		os.Symlink("b-", dir+"/tree/to file"),
		os.Symlink("tree", dir+"/link"),
		os.Symlink("none", dir+"/dangling"),
		os.Mkdir(dir+"/odd", 0o700),
		unix.Mkfifo(dir+"/odd/fifo", 0o600),
		unix.Mknod(dir+"/odd/socket", unix.S_IFSOCK|0o600, 0),
		os.WriteFile(dir+"/odd/not \xff", nil, 0o600),
		os.Symlink("\xff", dir+"/odd/target"),
		os.WriteFile(dir+"/odd/z", nil, 0o600),
		os.Symlink("fifo", dir+"/odd/to fifo"),
		os.Chmod(dir+"/tree/b-", os.ModeSetuid|0o751),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		at := []unix.Timespec{{Sec: 1e9}, {Sec: 1e9}}
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, path, at, unix.AT_SYMLINK_NOFOLLOW))
	})
	if err != nil {
		t.Fatal(err)
	}
	chunk := fmt.Sprintf("data %d xxxxx", chunkSize)
	tree := func(link, file []string) (messages []string) {
		messages = append(messages, "X 0700 040700 1000000000 dir", "end false",
			"X/a\nb 0600 100600 1000000000 size 0", "end false",
			"X/b 0700 040700 1000000000 dir", "end false",
			fmt.Sprintf("X/b/large 0600 100600 1000000000 size %d", 2*chunkSize+1), chunk, chunk, "data 1 x", "end false",
			"X/b- 0751 104751 1000000000 size 5", "data 5 minus", "end false")
		return append(append(append(messages, link...), "end false"), file...)
	}
	links := tree([]string{"X/link 0777 120777 1000000000 -> b"}, []string{"X/to file 0777 120777 1000000000 -> b-", "end true"})
	followed := tree([]string{"X/link 0700 040700 1000000000 dir"}, []string{"X/to file 0751 104751 1000000000 size 5", "data 5 minus", "end true"})
	tests := []struct {
		path   string
		follow bool
		base   string // for X
		want   []string
	}{
		{path: "tree", base: "tree", want: links},
		{path: "tree/", base: "tree", want: links},
		{path: "tree/.", base: "", want: links},
		{path: "tree", follow: true, base: "tree", want: followed},
		{path: "link", follow: true, base: "link", want: followed},
		{path: "link", want: []string{"link 0777 120777 1000000000 -> tree", "end true"}},
		{path: "tree/b-", want: []string{"b- 0751 104751 1000000000 size 5", "data 5 minus", "end true"}},
		{path: "dangling", want: []string{"dangling 0777 120777 1000000000 -> none", "end true"}},
		{path: "dangling", follow: true, want: []string{`error "stat: no such file or directory" of "DIR/dangling"`}},
		{path: "none", want: []string{`error "stat: no such file or directory" of "DIR/none"`}},
		{path: "tree/b-/x", want: []string{`error "stat: not a directory" of "DIR/tree/b-/x"`}},
		{path: "odd/fifo", want: []string{`error "open DIR/odd/fifo: it is a FIFO" of "DIR/odd/fifo"`}},
		{path: "odd/to fifo", follow: true, want: []string{`error "open DIR/odd/to fifo: it is a FIFO" of "DIR/odd/to fifo"`}},
		{path: "odd", want: []string{
			"odd 0700 040700 1000000000 dir",
			`error "open DIR/odd/fifo: it is a FIFO" of "DIR/odd/fifo"`,
			`error "name \"odd/not \\xff\" is not UTF-8, which this call cannot carry" of "DIR/odd/not ` + "\uFFFD" + `"`,
			`error "open DIR/odd/socket: it is a socket" of "DIR/odd/socket"`,
			`error "target \"\\xff\" is not UTF-8, which this call cannot carry" of "DIR/odd/target"`,
			"end false", "odd/to fifo 0777 120777 1000000000 -> fifo",
			"end false", "odd/z 0600 100600 1000000000 size 0", "end true",
		}},
	}
	client := dial(t, Options{})
	for _, test := range tests {
		var want []string
		for _, message := range test.want {
			if test.base == "" {
				message = strings.Replace(message, "X ", ". ", 1)
				message = strings.Replace(message, "X/", "", 1)
			}
			want = append(want, strings.ReplaceAll(strings.Replace(message, "X", test.base, 1), "DIR", dir))
		}
		if diff := cmp.Diff(want, copyFrom(t, client, dir+"/"+test.path, test.follow)); diff != "" {
			t.Errorf("%s, follow %v (-want +got):\n%s", test.path, test.follow, diff)
		}
	}
	for path, want := range map[string]string{
		"/dev/null":       `error "open /dev/null: it is a character device" of "/dev/null"`,
		"dev/null":        `error "open /dev/null: it is a character device" of "/dev/null"`,
		"/proc/self/mem":  `error "read /proc/self/mem: input/output error" of "/proc/self/mem"`,
		"":                `error "stat: no such file or directory" of ""`,
		"/proc/self/none": `error "stat: no such file or directory" of "/proc/self/none"`,
	} {
		got := copyFrom(t, client, path, true)
		if len(got) == 0 || got[len(got)-1] != want {
			t.Errorf("%s: got %q, want the last %q", path, got, want)
		}
	}
	if got := copyFrom(t, client, "/proc/version", false); len(got) != 3 || !strings.HasSuffix(got[0], "size 0") || got[2] != "end true" {
		t.Errorf("/proc/version: got %q, want size 0 and data", got)
	}
}

// oldTime has nanoseconds.
var oldTime = time.Unix(1e9, 5)

func TestStatPath(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/file", []byte("12345"), 0o600), os.Chmod(dir+"/file", os.ModeSetuid|os.ModeSticky|0o751),
		os.Chtimes(dir+"/file", oldTime, oldTime),
		os.Link(dir+"/file", dir+"/second"),
		os.Symlink("file", dir+"/link"), os.Symlink("none", dir+"/dangling"), os.Symlink("\xff", dir+"/odd"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	type answer = guestpb.StatPathResponse
	file := &answer{Exists: true, IsFile: true, Mode: 0o751, UnixMode: 0o105751, Size: 5, Mtime: 1e9, MtimeNanos: 5, Links: 2}
	tests := []struct {
		path   string
		follow bool
		want   *answer
	}{
		{dir + "/file", false, file},
		{dir + "/file", true, file},
		{strings.TrimPrefix(dir, "/") + "/file", false, file},
		{dir + "/link", true, file},
		{dir + "/link", false, &answer{Exists: true, IsSymlink: true, LinkTarget: "file", Mode: 0o777, UnixMode: 0o120777, Size: 4, Links: 1}},
		{dir + "/dangling", false, &answer{Exists: true, IsSymlink: true, LinkTarget: "none", Mode: 0o777, UnixMode: 0o120777, Size: 4, Links: 1}},
		{dir + "/odd", false, &answer{Exists: true, IsSymlink: true, Mode: 0o777, UnixMode: 0o120777, Size: 1, Links: 1, Error: `target "\xff" is not UTF-8, which this call cannot carry`}},
		{dir + "/dangling", true, &answer{}},
		{dir + "/none", false, &answer{}},
		{"", false, &answer{}},
		{dir + "/file/x", false, &answer{Error: "lstat " + dir + "/file/x: not a directory"}},
		{dir + "/file/x", true, &answer{Error: "stat " + dir + "/file/x: not a directory"}},
	}
	client := dial(t, Options{})
	for _, test := range tests {
		got, err := client.StatPath(limited(t), &guestpb.StatPathRequest{Path: test.path, FollowLinks: test.follow})
		if err != nil {
			t.Fatal(err)
		}
		want := test.want
		if want.GetExists() && (got.GetInode() == 0 || got.GetUid() != uint32(os.Getuid()) || got.GetGid() != uint32(os.Getgid())) {
			t.Errorf("%q: got inode %d, owner %d:%d", test.path, got.GetInode(), got.GetUid(), got.GetGid())
		}
		if want.GetIsSymlink() {
			got.Mtime, got.MtimeNanos = 0, 0
		}
		got.Inode, got.Uid, got.Gid = 0, 0, 0
		if got.String() != want.String() {
			t.Errorf("%q, follow %v: got %v, want %v", test.path, test.follow, got, want)
		}
	}
	if got, err := client.StatPath(limited(t), &guestpb.StatPathRequest{Path: "/"}); err != nil || !got.GetIsDir() {
		t.Errorf("/: got %v, error %v, want a directory", got, err)
	}
}
