package ext4

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

const (
	xattrRecord = "SCHILY.xattr."

	// maxXattrs is up to where the converter's sort of extended attributes is
	// an insertion sort. Its comparison is not a strict weak order, which that
	// sort survives, and Linux searches a block by order (ext4_xattr_find_entry).
	maxXattrs = 12
)

// convertXattrs makes of the extended attributes in PAX records those that ext4
// holds on disk. POSIX ACLs have another form there. An attribute outside
// ext4's namespaces, such as com.apple.provenance, is left out: Linux would
// answer EOPNOTSUPP for it, and containerd leaves it out for that.
func convertXattrs(records map[string]string) (map[string]string, error) {
	xattrs := map[string]string{}
	for key, value := range records {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		namespace, rest, _ := strings.Cut(name, ".")
		switch {
		case namespace == "user" || namespace == "trusted" || namespace == "security":
			if len(rest) == 0 || len(rest) > math.MaxUint8 {
				return nil, fmt.Errorf("extended attribute %q: want 1 to %d bytes behind the namespace", name, math.MaxUint8)
			}
			xattrs[key] = value
		case name == "system.posix_acl_access" || name == "system.posix_acl_default":
			acl, err := diskACL(value)
			if err != nil {
				return nil, fmt.Errorf("extended attribute %q: %w", name, err)
			}
			xattrs[key] = acl
		}
	}
	if len(xattrs) > maxXattrs {
		return nil, fmt.Errorf("%d extended attributes, want at most %d", len(xattrs), maxXattrs)
	}
	return xattrs, nil
}

// Tags of ACL entries that are about one user or group
// (include/uapi/linux/posix_acl.h).
const (
	aclUser  = 0x02
	aclGroup = 0x08
)

// diskACL turns an ACL from the form of the system call
// (include/uapi/linux/posix_acl_xattr.h: version 2; tag, permissions and ID of
// each entry) into the form on disk (fs/ext4/acl.h: version 1; no ID where the
// tag has none). Linux gives EINVAL to every access to a file with the former
// on disk.
func diskACL(value string) (string, error) {
	const headerSize, entrySize, version = 4, 8, 2
	v := []byte(value)
	if len(v) < headerSize || (len(v)-headerSize)%entrySize != 0 || binary.LittleEndian.Uint32(v) != version {
		return "", fmt.Errorf("%q is not a POSIX ACL of version %d", value, version)
	}
	disk := binary.LittleEndian.AppendUint32(nil, 1)
	for v = v[headerSize:]; len(v) > 0; v = v[entrySize:] {
		keep := 4 // tag, permissions
		if tag := binary.LittleEndian.Uint16(v); tag == aclUser || tag == aclGroup {
			keep = entrySize
		}
		disk = append(disk, v[:keep]...)
	}
	return string(disk), nil
}
