// Package boot has the tests that boot a virtual machine with the kernel and
// initrd of this tree, and nothing else. Bazel runs them: they need what it
// builds, and QEMU.
package boot
