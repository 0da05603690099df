"""Makes artifact sets."""

load("//platforms:arch.bzl", "arches_transition")
load("//tools/kernelprep:defs.bzl", "KernelInfo")
load("//tools/mkbase:defs.bzl", "BaseInfo")
load("//tools/mkheaders:defs.bzl", "HeadersInfo")
load("//tools/mkinitrd:defs.bzl", "InitrdInfo")
load("//tools/mksbom:defs.bzl", "SBOM_ATTRS", "sbom")

def _artifact_set_impl(ctx):
    manifest = ctx.actions.declare_file(ctx.label.name + "/manifest.json")
    outputs = []
    args = ctx.actions.args()
    for arch in sorted(ctx.attr.arches):
        base = ctx.split_attr.base[arch][BaseInfo]
        headers = ctx.split_attr.headers[arch][HeadersInfo]
        initrd = ctx.split_attr.initrd[arch][InitrdInfo]
        kernel = ctx.split_attr.kernel[arch][KernelInfo]
        if kernel.arch != arch:
            fail("{} is for {}, want {}".format(ctx.split_attr.kernel[arch].label, kernel.arch, arch))
        prefix = "{}/{}/".format(ctx.label.name, arch)
        files = []
        for kind, file, name in [
            ("base", base.layer, "base.tar.gz"),
            ("headers", headers.image, "headers.squashfs"),
            ("initrd", initrd.archive, "initrd"),
            ("kernel", kernel.image, kernel.image.basename),
            ("kernel-info", kernel.description, "kernel.json"),
        ]:
            output = ctx.actions.declare_file(prefix + name)
            ctx.actions.symlink(output = output, target_file = file)
            files.append((kind, output))
        documents = sbom(ctx, prefix, arch, kernel, base, headers, initrd, files)
        args.add("--arch", arch)
        args.add("--command-line", ctx.attr.command_lines[arch])
        for kind, file in files + zip(["sbom", "provenance"], documents):
            args.add(file, format = "--file={}=%s".format(kind))
            outputs.append(file)
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
        "headers": attr.label(mandatory = True, providers = [HeadersInfo], cfg = arches_transition),
        "initrd": attr.label(mandatory = True, providers = [InitrdInfo], cfg = arches_transition),
        "kernel": attr.label(mandatory = True, providers = [KernelInfo], cfg = arches_transition),
        "_mkbundle": attr.label(default = "//tools/mkbundle", executable = True, cfg = "exec"),
    } | SBOM_ATTRS,
)
