"""The guest's initrd, in any form and any workspace."""

load("//tools/mkinitrd:defs.bzl", "initrd")

# The kernel's console, and nothing of the kernel on it: an emulated serial port
# sends byte by byte.
COMMAND_LINES = {
    "aarch64": "console=ttyAMA0 quiet loglevel=1 panic=-1",
    "x86_64": "console=ttyS0 quiet loglevel=1 panic=-1",
}

def guest_initrd(name, base = Label("//system:base"), kernel = Label("//system:kernel"), modules = [], **kwargs):
    """An initrd of a kernel and a base with our init and agent.

    Args:
        name: of the target.
        base: layer below everything else; the profile's if not given.
        kernel: the profile's if not given.
        modules: kernel modules to load beside those that every guest needs.
        **kwargs: of initrd, such as compression, files and headers.
    """
    initrd(
        name = name,
        base = base,
        binaries = {
            "/init": Label("//guest/init"),
            "/usr/local/bin/guest-agent": Label("//guest/agent"),
        },
        kernel = kernel,
        modules = [
            "virtio_pci",
            "virtio_blk",
            "overlay",
            "vmw_vsock_virtio_transport",
        ] + modules,
        optional_modules = [
            "erofs",
            "loop",
            "ptp_kvm",
            "squashfs",
            "virtio_net",
        ],
        **kwargs
    )
