# What the kernel starts first, as "sh /init.sh" by its command line: only Go
# programs are executable in our initrds, and one in the shell's place would take
# longer. Then the init proper takes its place.
/bin/mkdir -p /proc /sys /dev
/bin/mount -t proc proc /proc
/bin/mount -t sysfs sysfs /sys
/bin/mount -t devtmpfs devtmpfs /dev
exec /init
