// Package passwd finds users in tables as passwd(5) and group(5) describe them.
// It opens no file: where the tables are is its caller's affair, and it knows
// no other source of users, as NSS does.
package passwd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is whom a process runs as.
type User struct {
	Credential syscall.Credential
	Home       string // "/" for a number that is in no table
}

// UnknownError is that of a user or group that is in no table.
type UnknownError string

func (e UnknownError) Error() string { return string(e) }

// Lookup finds NAME or UID, with :GROUP or :GID or without. Numbers need not be
// in a table. Without a group, the user is in the groups that list it. Read
// gives the content of /etc/passwd or /etc/group; a table that does not exist
// (ENOENT, ENOTDIR) is an empty one.
func Lookup(spec string, read func(name string) ([]byte, error)) (User, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	users, err := table("/etc/passwd", read)
	if err != nil {
		return User{}, fmt.Errorf("look for user %q: %w", spec, err)
	}
	found := User{Home: "/"}
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
		name, found.Home = fields[0], fields[5]
		found.Credential.Uid, uidOK = parseID(fields[2])
		found.Credential.Gid, gidOK = parseID(fields[3])
		if !uidOK || !gidOK {
			return User{}, fmt.Errorf("look for user %q: no numbers in its line of /etc/passwd", spec)
		}
	case isNumber:
		found.Credential.Uid = uid
	default:
		return User{}, fmt.Errorf("look for user %q: %w", spec, UnknownError("not in /etc/passwd of the image"))
	}
	groups, err := table("/etc/group", read)
	if err != nil {
		return User{}, fmt.Errorf("look for groups of user %q: %w", spec, err)
	}
	if hasGroup && group != "" {
		found.Credential.Gid, err = lookGroup(group, groups)
		if err != nil {
			return User{}, fmt.Errorf("look for user %q: %w", spec, err)
		}
		return found, nil
	}
	for _, fields := range groups {
		if len(fields) != 4 || !slices.Contains(strings.Split(fields[3], ","), name) {
			continue
		}
		if gid, ok := parseID(fields[2]); ok {
			found.Credential.Groups = append(found.Credential.Groups, gid)
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
	return 0, UnknownError("group is not in /etc/group of the image")
}

// parseID parses a user's or group's number. The kernel keeps 2^32-1 for none.
func parseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id != 1<<32-1
}

// table is the lines of a file, each split at its colons.
func table(name string, read func(name string) ([]byte, error)) ([][]string, error) {
	text, err := read(name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.SplitSeq(string(text), "\n") {
		rows = append(rows, strings.Split(line, ":"))
	}
	return rows, nil
}
