"""Makes artifact sets."""

load("//tools/kernelprep:defs.bzl", "KernelInfo")
load("//tools/mkinitrd:defs.bzl", "InitrdInfo")

def _artifact_set_impl(ctx):
    kernel = ctx.attr.kernel[KernelInfo]
    initrd = ctx.attr.initrd[InitrdInfo]
    if kernel.arch != initrd.arch:
        fail("kernel is for {}, initrd for {}".format(kernel.arch, initrd.arch))
    manifest = ctx.actions.declare_file(ctx.label.name + ".json")
    files = [kernel.image, initrd.archive, ctx.file.base]
    for file in files:
        if file.dirname != manifest.dirname:
            fail("{} is not in the manifest's folder".format(file))
    args = ctx.actions.args()
    args.add("--arch", kernel.arch)
    args.add("--kernel", kernel.image)
    args.add("--initrd", initrd.archive)
    args.add("--base", ctx.file.base)
    args.add("--out", manifest)
    ctx.actions.run(
        executable = ctx.executable._mkbundle,
        arguments = [args],
        inputs = files,
        outputs = [manifest],
        mnemonic = "MkBundle",
        progress_message = "Writing manifest %{label}",
    )
    return [DefaultInfo(
        files = depset([manifest]),
        runfiles = ctx.runfiles([manifest] + files),
    )]

artifact_set = rule(
    _artifact_set_impl,
    doc = "The manifest of a kernel, an initrd and the layer that the initrd is made from, which lie beside it.",
    attrs = {
        "base": attr.label(mandatory = True, allow_single_file = True),
        "initrd": attr.label(mandatory = True, providers = [InitrdInfo]),
        "kernel": attr.label(mandatory = True, providers = [KernelInfo]),
        "_mkbundle": attr.label(default = "//tools/mkbundle", executable = True, cfg = "exec"),
    },
)
