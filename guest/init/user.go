package main

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/passwd"
)

// maxTable bounds an image's table of users or groups, in bytes.
const maxTable = 4 << 20

// user is whom the application runs as. The zero value is init's own, root.
type user struct {
	credential *syscall.Credential
	home       string
}

// lookUser finds the user of an image's configuration in the tables of the
// image.
func lookUser(spec string, root *inroot.Root) (user, error) {
	if spec == "" {
		return user{}, nil
	}
	found, err := passwd.Lookup(spec, func(name string) ([]byte, error) { return root.ReadFile(name, maxTable) })
	if err != nil {
		return user{}, err
	}
	return user{credential: &found.Credential, home: found.Home}, nil
}

// ownOutput lets the user open /dev/stdout and /dev/stderr, which many images
// log to.
func (u user) ownOutput() error {
	if u.credential == nil || u.credential.Uid == 0 {
		return nil
	}
	for _, file := range []*os.File{os.Stdout, os.Stderr} {
		if err := unix.Fchown(int(file.Fd()), int(u.credential.Uid), -1); err != nil {
			return fmt.Errorf("give output to user: %w", err)
		}
	}
	return nil
}
