"""Makes image layers of Debian packages."""

load("//system:pinned_file.bzl", "PinnedFileInfo")

def _debian_layer_impl(ctx):
    layer = ctx.actions.declare_file(ctx.label.name + ".tar.gz")
    args = ctx.actions.args()
    args.use_param_file("@%s")
    args.set_param_file_format("multiline")
    packages = [package[PinnedFileInfo] for package in ctx.attr.packages]
    for package in packages:
        args.add("--package", package.file)
        args.add("--sha256", package.sha256)
        args.add("--refetch", package.refetch)
    args.add_all(ctx.attr.exclude, before_each = "--exclude")
    for name, target in ctx.attr.links.items():
        args.add("--link", "{}={}".format(name, target))
    args.add("--out", layer)
    ctx.actions.run(
        executable = ctx.executable._debimage,
        arguments = [args],
        inputs = [package.file for package in packages],
        outputs = [layer],
        mnemonic = "DebImage",
        progress_message = "Making Debian layer %{label}",
    )
    return [DefaultInfo(files = depset([layer]))]

debian_layer = rule(
    _debian_layer_impl,
    doc = "Debian packages, unpacked, as one image layer: a gzip-compressed tar.",
    attrs = {
        "exclude": attr.string_list(doc = "Folders to leave out."),
        "links": attr.string_dict(doc = "Symbolic links to add: name to target."),
        "packages": attr.label_list(mandatory = True, providers = [PinnedFileInfo], doc = "In order: a later one replaces files of those before it."),
        "_debimage": attr.label(default = "//tools/debimage", executable = True, cfg = "exec"),
    },
)
