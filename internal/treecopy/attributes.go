package treecopy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// modeBits are those of a mode that chmod(2) sets.
const modeBits = 0o7777

// Owner is who a file belongs to.
type Owner struct {
	UID, GID uint32
}

// Attributes are what a file has beside its type, name and content.
type Attributes struct {
	Mode    uint32            // permission bits and special ones, 07777
	Owner   *Owner            // nil leaves it
	ModTime time.Time         // also of the last access; zero leaves both
	Xattrs  map[string]string // name -> value
}

// ApplyTo gives an open file or directory its attributes.
func (a *Attributes) ApplyTo(fd int) error {
	// To change the owner clears set-user-ID and set-group-ID.
	if err := a.setOwner(fd); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Xattrs)) {
		if err := unix.Fsetxattr(fd, name, []byte(a.Xattrs[name]), 0); err != nil {
			return fmt.Errorf("set extended attribute %q: %w", name, err)
		}
	}
	if err := unix.Fchmod(fd, a.Mode&modeBits); err != nil {
		return fmt.Errorf("set mode %04o: %w", a.Mode&modeBits, err)
	}
	return a.setTime(fd)
}

// applyToPath is ApplyTo for what cannot be opened without an effect, through a
// descriptor of its path alone (O_PATH).
func (a *Attributes) applyToPath(fd int, isLink bool) error {
	if err := a.setOwner(fd); err != nil {
		return err
	}
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	for _, name := range slices.Sorted(maps.Keys(a.Xattrs)) {
		if err := unix.Setxattr(self, name, []byte(a.Xattrs[name]), 0); err != nil {
			return fmt.Errorf("set extended attribute %q: %w", name, err)
		}
	}
	if !isLink { // a link has no mode
		if err := unix.Chmod(self, a.Mode&modeBits); err != nil {
			return fmt.Errorf("set mode %04o: %w", a.Mode&modeBits, err)
		}
	}
	return a.setTime(fd)
}

func (a *Attributes) setOwner(fd int) error {
	if a.Owner == nil {
		return nil
	}
	if err := unix.Fchownat(fd, "", int(a.Owner.UID), int(a.Owner.GID), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set owner %d:%d: %w", a.Owner.UID, a.Owner.GID, err)
	}
	return nil
}

func (a *Attributes) setTime(fd int) error {
	if a.ModTime.IsZero() {
		return nil
	}
	at, err := unix.TimeToTimespec(a.ModTime)
	if err == nil {
		err = unix.UtimesNanoAt(fd, "", []unix.Timespec{at, at}, unix.AT_EMPTY_PATH)
	}
	if err != nil {
		return fmt.Errorf("set time %v: %w", a.ModTime, err)
	}
	return nil
}

// XATTR_LIST_MAX and XATTR_SIZE_MAX of include/uapi/linux/limits.h.
const maxXattr = 64 << 10

// readXattrs gives the extended attributes of an open file whose names are
// wanted. A file system without extended attributes has none.
func readXattrs(fd int, wanted func(name string) bool) (map[string]string, error) {
	n, err := unix.Flistxattr(fd, nil)
	if n == 0 || err == unix.ENOTSUP {
		return nil, nil
	}
	buf := make([]byte, maxXattr)
	if err == nil {
		n, err = unix.Flistxattr(fd, buf)
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	xattrs := map[string]string{}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" || !wanted(name) {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, buf)
		if err == unix.ENODATA {
			continue // it went away meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %q: %w", name, err)
		}
		xattrs[name] = string(buf[:n])
	}
	return xattrs, nil
}

// isPortable tells whether an extended attribute means the same on another
// system: labels of a security module or of overlayfs do not.
func isPortable(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability" ||
		name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// ReadAttributes reads what another file is to have of an open one: everything
// but the time, and capabilities, which the kernel takes away when a file is
// written.
func ReadAttributes(fd int) (*Attributes, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("read attributes: %w", err)
	}
	xattrs, err := readXattrs(fd, func(name string) bool { return name != "security.capability" })
	if err != nil {
		return nil, err
	}
	return &Attributes{Mode: stat.Mode & modeBits, Owner: &Owner{UID: stat.Uid, GID: stat.Gid}, Xattrs: xattrs}, nil
}
