package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/init/internal/inroot"
)

// maxTable bounds an image's table of users or groups, in bytes.
const maxTable = 4 << 20

// user is whom the application runs as. The zero value is init's own, root.
type user struct {
	credential *syscall.Credential
	home       string
}

// lookUser finds the user of an image's configuration in the tables of the
// image (passwd(5), group(5)): NAME or UID, with :GROUP or :GID or without.
// Numbers need not be in a table. Without a group, the user is in the groups
// that list it.
func lookUser(spec string, root *inroot.Root) (user, error) {
	if spec == "" {
		return user{}, nil
	}
	name, group, hasGroup := strings.Cut(spec, ":")
	users, err := readTable(root, "/etc/passwd")
	if err != nil {
		return user{}, fmt.Errorf("look for user %q: %w", spec, err)
	}
	found := user{credential: &syscall.Credential{}, home: "/"}
	uid, isNumber := parseID(name)
	entry := slices.IndexFunc(users, func(fields []string) bool {
		if len(fields) < 6 {
			return false
		}
		id, ok := parseID(fields[2])
		return fields[0] == name || isNumber && ok && id == uid
	})
	switch {
	case entry >= 0:
		var uidOK, gidOK bool
		fields := users[entry]
		name, found.home = fields[0], fields[5]
		found.credential.Uid, uidOK = parseID(fields[2])
		found.credential.Gid, gidOK = parseID(fields[3])
		if !uidOK || !gidOK {
			return user{}, fmt.Errorf("look for user %q: no numbers in its line of /etc/passwd", spec)
		}
	case isNumber:
		found.credential.Uid = uid
	default:
		return user{}, fmt.Errorf("look for user %q: not in /etc/passwd of the image", spec)
	}
	groups, err := readTable(root, "/etc/group")
	if err != nil {
		return user{}, fmt.Errorf("look for groups of user %q: %w", spec, err)
	}
	if hasGroup && group != "" {
		found.credential.Gid, err = lookGroup(group, groups)
		if err != nil {
			return user{}, fmt.Errorf("look for user %q: %w", spec, err)
		}
		return found, nil
	}
	for _, fields := range groups {
		if len(fields) != 4 || !slices.Contains(strings.Split(fields[3], ","), name) {
			continue
		}
		if gid, ok := parseID(fields[2]); ok {
			found.credential.Groups = append(found.credential.Groups, gid)
		}
	}
	return found, nil
}

func lookGroup(group string, groups [][]string) (uint32, error) {
	for _, fields := range groups {
		if len(fields) >= 3 && fields[0] == group {
			if gid, ok := parseID(fields[2]); ok {
				return gid, nil
			}
		}
	}
	if gid, ok := parseID(group); ok {
		return gid, nil
	}
	return 0, errors.New("group is not in /etc/group of the image")
}

// parseID parses a user's or group's number. The kernel keeps 2^32-1 for none.
func parseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id != 1<<32-1
}

// readTable reads a file of lines of fields with colons between them. An image
// without it has an empty one.
func readTable(root *inroot.Root, name string) ([][]string, error) {
	text, err := root.ReadFile(name, maxTable)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var table [][]string
	for line := range strings.SplitSeq(string(text), "\n") {
		table = append(table, strings.Split(line, ":"))
	}
	return table, nil
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
