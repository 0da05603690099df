"""Makes base layers."""

load("//system:pinned_file.bzl", "PinnedFileInfo")

BaseInfo = provider(
    doc = "What an initrd is made from.",
    fields = {
        "arch": "string: x86_64 or aarch64",
        "artifact": "string: its name in the lock; None where it is not from there",
        "layer": "File: OCI layer tarball.",
        "origin": "File: arguments of mksbom that say which image it is; None where it is from the lock.",
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
        BaseInfo(arch = package.arch, artifact = package.artifact, layer = layer, origin = None),
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
        BaseInfo(arch = pinned.arch, artifact = pinned.artifact, layer = pinned.file, origin = None),
    ]

pinned_layer = rule(
    _pinned_layer_impl,
    doc = "A root file system tarball of a distribution, which is an OCI layer as it is.",
    attrs = {"file": attr.label(mandatory = True, providers = [PinnedFileInfo])},
    provides = [BaseInfo],
)

def _oci_base_impl(ctx):
    layer = ctx.actions.declare_file(ctx.label.name + ".tar.gz")
    origin = ctx.actions.declare_file(ctx.label.name + ".origin")
    args = ctx.actions.args()
    files = ctx.files.image

    # A layout is given by its oci-layout file, which lies at its root.
    markers = [file for file in files if file.basename == "oci-layout"]
    if markers:
        args.add("--image", markers[0].dirname)
    elif len(files) == 1:
        args.add("--image", files[0].path)
    else:
        fail("{} has {} files, want an archive, a folder, or a layout with its file oci-layout".format(ctx.attr.image.label, len(files)))
    if ctx.attr.digest:
        args.add("--digest", ctx.attr.digest)
    args.add("--name", ctx.attr.repository or ctx.label.name)
    args.add("--origin", origin)
    args.add("--arch", ctx.attr.arch)
    args.add("--out", layer)
    ctx.actions.run(
        executable = ctx.executable._mkbase,
        arguments = [args],
        inputs = files,
        outputs = [layer, origin],
        mnemonic = "MkBase",
        progress_message = "Flattening image %{label}",
    )
    return [
        DefaultInfo(files = depset([layer])),
        BaseInfo(arch = ctx.attr.arch, artifact = None, layer = layer, origin = origin),
    ]

oci_base = rule(
    _oci_base_impl,
    doc = """The layers of an OCI image as one, checked by digest, size and diff ID.

docs/layers.md has what becomes of every odd one.""",
    attrs = {
        "arch": attr.string(mandatory = True, values = ["aarch64", "x86_64"]),
        "digest": attr.string(doc = "sha256:HEX of the manifest, or of an index that leads to it."),
        "image": attr.label(
            mandatory = True,
            allow_files = True,
            doc = "OCI image layout as a folder or a filegroup, OCI archive, or archive of docker save. oci_image fetches one from a registry.",
        ),
        "repository": attr.string(doc = "Name of the image in SBOMs, HOST/NAME; the target's name if empty."),
        "_mkbase": attr.label(default = "//tools/mkbase", executable = True, cfg = "exec"),
    },
    provides = [BaseInfo],
)
