"""Takes kernels apart."""

load("//system:pinned_file.bzl", "PinnedFileInfo")

KernelInfo = provider(
    doc = "A kernel and what belongs to it.",
    fields = {
        "arch": "string: x86_64 or aarch64",
        "artifact": "string: its name in the lock",
        "description": "File: kernel.json.",
        "image": "File: what the hypervisor loads: an ELF vmlinux with a PVH note, an arm64 Image.",
        "modules": "File: tar.zst of lib/modules/RELEASE with modules.dep and modules.builtin; None where the kernel has all built in.",
    },
)

_IMAGES = {"aarch64": "Image", "x86_64": "vmlinux"}

def _kernel_impl(ctx):
    pinned = ctx.attr.file[PinnedFileInfo]
    image = ctx.actions.declare_file("{}/{}".format(ctx.label.name, _IMAGES[pinned.arch]))
    description = ctx.actions.declare_file("{}/kernel.json".format(ctx.label.name))
    modules = None
    args = ctx.actions.args()
    args.add("--kernel", pinned.file)
    args.add("--sha256", pinned.sha256)
    args.add("--arch", pinned.arch)
    args.add("--refetch", pinned.refetch)
    args.add("--requirements", ctx.file._requirements)
    args.add("--image", image)
    args.add("--description", description)
    if pinned.file.extension == "deb":
        modules = ctx.actions.declare_file("{}/modules.tar.zst".format(ctx.label.name))
        args.add("--modules", modules)
    ctx.actions.run(
        executable = ctx.executable._kernelprep,
        arguments = [args],
        inputs = [pinned.file, ctx.file._requirements],
        outputs = [image, description] + ([modules] if modules else []),
        mnemonic = "KernelPrep",
        progress_message = "Checking and unpacking kernel %{label}",
        execution_requirements = {"supports-path-mapping": "1"},
    )
    return [
        DefaultInfo(files = depset([image])),
        OutputGroupInfo(
            description = depset([description]),
            modules = depset([modules] if modules else []),
        ),
        KernelInfo(
            arch = pinned.arch,
            artifact = pinned.artifact,
            description = description,
            image = image,
            modules = modules,
        ),
    ]

kernel = rule(
    _kernel_impl,
    doc = "A pinned kernel, Debian's package or a bare file, in the form that hypervisors load, with its modules and its description.",
    attrs = {
        "file": attr.label(mandatory = True, providers = [PinnedFileInfo]),
        "_kernelprep": attr.label(default = "//tools/kernelprep", executable = True, cfg = "exec"),
        "_requirements": attr.label(default = "//system:kernel_requirements.json", allow_single_file = True),
    },
    provides = [KernelInfo],
)
