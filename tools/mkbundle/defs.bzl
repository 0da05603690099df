"""Makes artifact sets."""

load("//platforms:arch.bzl", "arches_transition")
load("//tools/kernelprep:defs.bzl", "KernelInfo")
load("//tools/mkbase:defs.bzl", "BaseInfo")
load("//tools/mkinitrd:defs.bzl", "InitrdInfo")

def _artifact_set_impl(ctx):
    manifest = ctx.actions.declare_file(ctx.label.name + "/manifest.json")
    outputs = []
    args = ctx.actions.args()
    for arch in sorted(ctx.attr.arches):
        kernel = ctx.split_attr.kernel[arch][KernelInfo]
        if kernel.arch != arch:
            fail("{} is for {}, want {}".format(ctx.split_attr.kernel[arch].label, kernel.arch, arch))
        args.add("--arch", arch)
        args.add("--command-line", ctx.attr.command_lines[arch])
        for kind, file, name in [
            ("base", ctx.split_attr.base[arch][BaseInfo].layer, "base.tar.gz"),
            ("initrd", ctx.split_attr.initrd[arch][InitrdInfo].archive, "initrd"),
            ("kernel", kernel.image, kernel.image.basename),
            ("kernel-info", kernel.description, "kernel.json"),
        ]:
            output = ctx.actions.declare_file("{}/{}/{}".format(ctx.label.name, arch, name))
            ctx.actions.symlink(output = output, target_file = file)
            args.add("--file")
            args.add_joined([kind, output], join_with = "=")
            outputs.append(output)
    args.add("--out", manifest)
    ctx.actions.run(
        executable = ctx.executable._mkbundle,
        arguments = [args],
        inputs = outputs,
        outputs = [manifest],
        mnemonic = "MkBundle",
        progress_message = "Writing manifest of %{label}",
    )
    return [DefaultInfo(
        files = depset([manifest] + outputs),
        runfiles = ctx.runfiles([manifest] + outputs),
    )]

artifact_set = rule(
    _artifact_set_impl,
    doc = "The folder NAME with manifest.json and a folder for each architecture with its files.",
    attrs = {
        "arches": attr.string_list(mandatory = True),
        "base": attr.label(mandatory = True, providers = [BaseInfo], cfg = arches_transition),
        "command_lines": attr.string_dict(mandatory = True, doc = "Architecture -> the kernel's command line."),
        "initrd": attr.label(mandatory = True, providers = [InitrdInfo], cfg = arches_transition),
        "kernel": attr.label(mandatory = True, providers = [KernelInfo], cfg = arches_transition),
        "_mkbundle": attr.label(default = "//tools/mkbundle", executable = True, cfg = "exec"),
    },
)
