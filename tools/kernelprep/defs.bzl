"""Takes a kernel package apart."""

load("//system:pinned_file.bzl", "PinnedFileInfo")

KernelInfo = provider(
    doc = "A kernel and what belongs to it.",
    fields = {
        "arch": "string: x86_64",
        "image": "File: what the hypervisor loads, an ELF vmlinux with a PVH note.",
        "modules": "File: tar of lib/modules/RELEASE with modules.dep and modules.builtin.",
    },
)

def _kernel_impl(ctx):
    package = ctx.attr.package[PinnedFileInfo]
    image = ctx.actions.declare_file(ctx.label.name + ".vmlinux")
    modules = ctx.actions.declare_file(ctx.label.name + ".modules.tar")
    args = ctx.actions.args()
    args.add("--deb", package.file)
    args.add("--sha256", package.sha256)
    args.add("--arch", package.arch)
    args.add("--refetch", package.refetch)
    args.add("--vmlinux", image)
    args.add("--modules", modules)
    ctx.actions.run(
        executable = ctx.executable._kernelprep,
        arguments = [args],
        inputs = [package.file],
        outputs = [image, modules],
        mnemonic = "KernelPrep",
        progress_message = "Unpacking kernel %{label}",
        execution_requirements = {"supports-path-mapping": "1"},
    )
    return [
        DefaultInfo(files = depset([image])),
        OutputGroupInfo(modules = depset([modules])),
        KernelInfo(arch = package.arch, image = image, modules = modules),
    ]

kernel = rule(
    _kernel_impl,
    doc = "The kernel of a Debian package in the form that hypervisors load, and its modules.",
    attrs = {
        "package": attr.label(mandatory = True, providers = [PinnedFileInfo]),
        "_kernelprep": attr.label(default = "//tools/kernelprep", executable = True, cfg = "exec"),
    },
    provides = [KernelInfo],
)
