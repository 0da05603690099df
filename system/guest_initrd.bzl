"""The guest's initrd, in any form."""

load("//tools/mkinitrd:defs.bzl", "initrd")

def guest_initrd(name, modules = [], **kwargs):
    """An initrd of the profile's kernel and base with our programs.

    Args:
        name: of the target.
        modules: kernel modules to load beside those that every guest needs.
        **kwargs: of initrd, such as compression and headers.
    """
    initrd(
        name = name,
        base = "//system:base",
        binaries = {
            "/init": "//guest/init",
            "/usr/local/bin/guest-agent": "//guest/agent",
        },
        kernel = "//system:kernel",
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
