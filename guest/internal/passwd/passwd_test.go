package passwd

import (
	"errors"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// FuzzLookup has any tables. What is found is a user that the kernel takes.
func FuzzLookup(f *testing.F) {
	f.Add("web:logs", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/false\n", "logs:x:50:adm,web\n")
	f.Add("33", "web:x:33:-1::/:\n:::::\n", "web:x:4294967295:web")
	f.Add(":", "", "")
	f.Fuzz(func(t *testing.T, spec, users, groups string) {
		found, err := Lookup(spec, func(name string) ([]byte, error) {
			return []byte(map[string]string{"/etc/passwd": users, "/etc/group": groups}[name]), nil
		})
		if err != nil {
			if diff := cmp.Diff(User{}, found, cmp.AllowUnexported(syscall.Credential{})); diff != "" {
				t.Errorf("beside %v (-want +got):\n%s", err, diff)
			}
			return
		}
		const none = 1<<32 - 1
		if found.Credential.Uid == none || found.Credential.Gid == none {
			t.Errorf("got %+v, which stands for none", found.Credential)
		}
	})
}

func TestLookupErrors(t *testing.T) {
	errBroken := errors.New("broken")
	tests := []struct {
		name         string
		spec         string
		users        error // of reading
		groups       error
		want         string
		wantsUnknown bool
	}{
		{"no tables", "web", unix.ENOENT, unix.ENOENT, `look for user "web": not in /etc/passwd of the image`, true},
		{"no folder, number", "7", unix.ENOTDIR, unix.ENOTDIR, "", false},
		{"no groups", "7:web", unix.ENOENT, unix.ENOENT, `look for user "7:web": group is not in /etc/group of the image`, true},
		{"broken users", "7", errBroken, nil, `look for user "7": broken`, false},
		{"broken groups", "7", nil, errBroken, `look for groups of user "7": broken`, false},
	}
	for _, test := range tests {
		_, err := Lookup(test.spec, func(name string) ([]byte, error) {
			if name == "/etc/passwd" {
				return nil, test.users
			}
			return nil, test.groups
		})
		var text string
		if err != nil {
			text = err.Error()
		}
		if text != test.want {
			t.Errorf("%s: got %q, want %q", test.name, text, test.want)
		}
		if _, unknown := errors.AsType[UnknownError](err); unknown != test.wantsUnknown {
			t.Errorf("%s: unknown %v, want %v", test.name, unknown, test.wantsUnknown)
		}
	}
}
