"""Makes kernel headers."""

load("//system:pinned_file.bzl", "PinnedFileInfo")
load("//tools/kernelprep:defs.bzl", "KernelInfo")

HeadersInfo = provider(
    doc = "What modules for a kernel are built with.",
    fields = {
        "arch": "string: x86_64 or aarch64",
        "artifacts": "list of strings: names in the lock",
        "image": "File: squashfs image of /usr/src/linux-headers-RELEASE.",
    },
)

# Of Debian 12: the programs run in guests with this glibc or a newer one.
_GLIBC = "2.36"

def _kernel_headers_impl(ctx):
    kernel = ctx.attr.kernel[KernelInfo]
    parts = [part[PinnedFileInfo] for part in ctx.attr.parts]
    image = ctx.actions.declare_file(ctx.label.name + ".squashfs")
    tarball = ctx.actions.declare_file(ctx.label.name + ".tar.gz")
    args = ctx.actions.args()
    args.add("--arch", kernel.arch)
    for part in parts:
        if part.arch not in [kernel.arch, "all"]:
            fail("{} is for {}, kernel for {}".format(part.artifact, part.arch, kernel.arch))
        args.add("--part", part.file)
        args.add("--sha256", part.sha256)
        args.add("--refetch", part.refetch)
    args.add("--description", kernel.description)
    args.add("--glibc", _GLIBC)
    for format, out in [("squashfs", image), ("tar.gz", tarball)]:
        output = ctx.actions.args()
        output.add("--format", format)
        output.add("--out", out)
        ctx.actions.run(
            executable = ctx.executable._mkheaders,
            arguments = [args, output],
            inputs = [part.file for part in parts] + [kernel.description],
            outputs = [out],
            mnemonic = "MkHeaders",
            progress_message = "Making headers %{label} as " + format,
            execution_requirements = {"supports-path-mapping": "1"},
        )
    return [
        DefaultInfo(files = depset([image])),
        OutputGroupInfo(tarball = depset([tarball])),
        HeadersInfo(
            arch = kernel.arch,
            artifacts = [part.artifact for part in parts],
            image = image,
        ),
    ]

kernel_headers = rule(
    _kernel_headers_impl,
    doc = """The headers of a kernel as one squashfs image, which a guest mounts.

Output group tarball has them as a .tar.gz, for comparison with guests that
unpack them.""",
    attrs = {
        "kernel": attr.label(mandatory = True, providers = [KernelInfo]),
        "parts": attr.label_list(mandatory = True, providers = [PinnedFileInfo], doc = "Debian's packages, or one tarball of all."),
        "_mkheaders": attr.label(default = "//tools/mkheaders", executable = True, cfg = "exec"),
    },
    provides = [HeadersInfo],
)
