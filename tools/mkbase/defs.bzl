"""Makes base layers."""

load("//system:pinned_file.bzl", "PinnedFileInfo")

BaseInfo = provider(
    doc = "What an initrd is made from.",
    fields = {
        "arch": "string: x86_64 or aarch64",
        "artifact": "string: its name in the lock",
        "layer": "File: OCI layer tarball.",
    },
)

def _busybox_layer_impl(ctx):
    package = ctx.attr.package[PinnedFileInfo]
    layer = ctx.actions.declare_file(ctx.label.name + ".tar.gz")
    args = ctx.actions.args()
    args.add("--deb", package.file)
    args.add("--sha256", package.sha256)
    args.add("--arch", package.arch)
    args.add("--refetch", package.refetch)
    args.add("--out", layer)
    ctx.actions.run(
        executable = ctx.executable._mkbase,
        arguments = [args],
        inputs = [package.file],
        outputs = [layer],
        mnemonic = "MkBase",
        progress_message = "Making base layer %{label}",
        execution_requirements = {"supports-path-mapping": "1"},
    )
    return [
        DefaultInfo(files = depset([layer])),
        BaseInfo(arch = package.arch, artifact = package.artifact, layer = layer),
    ]

busybox_layer = rule(
    _busybox_layer_impl,
    doc = "An OCI layer tarball with busybox and a link for each of its applets.",
    attrs = {
        "package": attr.label(mandatory = True, providers = [PinnedFileInfo]),
        "_mkbase": attr.label(default = "//tools/mkbase", executable = True, cfg = "exec"),
    },
    provides = [BaseInfo],
)

def _pinned_layer_impl(ctx):
    pinned = ctx.attr.file[PinnedFileInfo]
    return [
        DefaultInfo(files = depset([pinned.file])),
        BaseInfo(arch = pinned.arch, artifact = pinned.artifact, layer = pinned.file),
    ]

pinned_layer = rule(
    _pinned_layer_impl,
    doc = "A root file system tarball of a distribution, which is an OCI layer as it is.",
    attrs = {"file": attr.label(mandatory = True, providers = [PinnedFileInfo])},
    provides = [BaseInfo],
)
