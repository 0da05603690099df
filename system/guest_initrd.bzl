"""The guest's initrd, in any form."""

load("//tools/mkinitrd:defs.bzl", "initrd")

def guest_initrd(name, **kwargs):
    """An initrd of the profile's kernel and base with our programs.

    Args:
        name: of the target.
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
        ],
        optional_modules = [
            "erofs",
            "loop",
            "squashfs",
            "virtio_net",
        ],
        **kwargs
    )
