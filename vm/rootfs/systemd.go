package rootfs

import "slices"

// systemdPaths are the commands that make an image boot systemd as PID 1. The
// list is the contract's (section 4.4); other spellings of the same file do
// not count.
var systemdPaths = []string{"/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"}

// IsSystemdImage tells whether an image's own entrypoint and cmd boot systemd:
// the first word of the two is one of three paths. An instance's command in
// their place has no say.
func IsSystemdImage(entrypoint, cmd []string) bool {
	argv := slices.Concat(entrypoint, cmd)
	return len(argv) > 0 && slices.Contains(systemdPaths, argv[0])
}
