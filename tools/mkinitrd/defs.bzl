"""Assembles initrds."""

load("//tools/kernelprep:defs.bzl", "KernelInfo")

InitrdInfo = provider(
    doc = "An initrd for one architecture.",
    fields = {
        "arch": "string: x86_64",
        "archive": "File: newc archive, as the kernel takes it.",
        "listing": "File: mtree of every entry.",
    },
)

def _initrd_impl(ctx):
    kernel = ctx.attr.kernel[KernelInfo]
    archive = ctx.actions.declare_file(ctx.label.name + ".cpio")
    listing = ctx.actions.declare_file(ctx.label.name + ".mtree")
    args = ctx.actions.args()
    args.use_param_file("@%s", use_always = True)
    args.set_param_file_format("multiline")
    args.add("--arch", kernel.arch)
    layers = [ctx.file.layer] if ctx.file.layer else []
    args.add_all(layers, before_each = "--layer")
    for path, binary in ctx.attr.binaries.items():
        _add_file(args, "--binary", path, binary)
    for path, file in ctx.attr.files.items():
        _add_file(args, "--file", path, file)
    args.add("--modules", kernel.modules)
    args.add_all(ctx.attr.modules, before_each = "--module")
    args.add("--out", archive)
    args.add("--listing", listing)
    ctx.actions.run(
        executable = ctx.executable._mkinitrd,
        arguments = [args],
        inputs = depset(
            layers + [kernel.modules],
            transitive = [target[DefaultInfo].files for target in ctx.attr.binaries.values() + ctx.attr.files.values()],
        ),
        outputs = [archive, listing],
        mnemonic = "MkInitrd",
        progress_message = "Assembling initrd %{label}",
        execution_requirements = {"supports-path-mapping": "1"},
    )
    return [
        DefaultInfo(files = depset([archive])),
        OutputGroupInfo(listing = depset([listing])),
        InitrdInfo(arch = kernel.arch, archive = archive, listing = listing),
    ]

def _add_file(args, flag, path, target):
    files = target[DefaultInfo].files.to_list()
    if len(files) != 1:
        fail("{} is to be {}, but makes {} files".format(target.label, path, len(files)))
    args.add(files[0], format = "{}={}=%s".format(flag, path.replace("%", "%%")))

initrd = rule(
    _initrd_impl,
    doc = "A layer, programs, files and a kernel's modules as one archive.",
    attrs = {
        "binaries": attr.string_keyed_label_dict(doc = "Static programs by their path in the initrd, mode 0555."),
        "files": attr.string_keyed_label_dict(doc = "Files by their path in the initrd, mode 0444.", allow_files = True),
        "kernel": attr.label(mandatory = True, providers = [KernelInfo]),
        "layer": attr.label(allow_single_file = True, doc = "OCI layer tarball below everything else."),
        "modules": attr.string_list(doc = "Kernel modules that init loads, in this order, each behind what it depends on."),
        "_mkinitrd": attr.label(default = "//tools/mkinitrd", executable = True, cfg = "exec"),
    },
    provides = [InitrdInfo],
)
