"""Assembles initrds."""

load("//tools/kernelprep:defs.bzl", "KernelInfo")
load("//tools/mkbase:defs.bzl", "BaseInfo")
load("//tools/mkheaders:defs.bzl", "HeadersInfo")
load("//tools/mksbom:defs.bzl", "GoModulesInfo", "go_modules")

InitrdInfo = provider(
    doc = "An initrd for one architecture.",
    fields = {
        "arch": "string: x86_64 or aarch64",
        "archive": "File: the segments one behind the other, as the kernel takes it.",
        "listing": "File: mtree of every entry.",
        "programs": "dict: path in the initrd -> struct of file and buildinfo (see GoModulesInfo) of each program.",
        "segments": "list of structs of name, archive and listing, the lowest first.",
    },
)

def _initrd_impl(ctx):
    kernel = ctx.attr.kernel[KernelInfo]
    segments = []
    if ctx.attr.base:
        base = ctx.attr.base[BaseInfo]
        if base.arch != kernel.arch:
            fail("base {} is for {}, kernel for {}".format(ctx.attr.base.label, base.arch, kernel.arch))
        args = ctx.actions.args()
        args.add("--layer", base.layer)
        segments.append(_segment(ctx, "base", segments, args, [base.layer]))
    if ctx.attr.modules and kernel.modules:
        args = ctx.actions.args()
        args.add("--modules", kernel.modules)
        args.add_all(ctx.attr.modules, before_each = "--module")
        args.add_all(ctx.attr.optional_modules, before_each = "--optional-module")
        segments.append(_segment(ctx, "modules", segments, args, [kernel.modules]))
    if ctx.attr.headers:
        headers = ctx.attr.headers[HeadersInfo]
        if headers.arch != kernel.arch:
            fail("headers {} are for {}, kernel for {}".format(ctx.attr.headers.label, headers.arch, kernel.arch))
        args = ctx.actions.args()
        args.add(headers.image, format = "--file=/kernel-headers.squashfs=%s")
        segments.append(_segment(ctx, "headers", segments, args, [headers.image], compression = "none"))
    if ctx.attr.files:
        segments.append(_files_segment(ctx, "files", segments, "--file", ctx.attr.files))
    segments.append(_files_segment(ctx, "programs", segments, "--binary", ctx.attr.binaries, compression = ctx.attr.programs_compression))
    archive = ctx.actions.declare_file(ctx.label.name + ".cpio")
    listing = ctx.actions.declare_file(ctx.label.name + ".mtree")
    args = ctx.actions.args()
    for segment in segments:
        args.add("--segment")
        args.add_joined([segment.listing, segment.archive], join_with = "=")
    _run(ctx, "join", "JoinInitrd", "Joining initrd %{label}", [args], depset([s.archive for s in segments] + [s.listing for s in segments]), archive, listing)
    return [
        DefaultInfo(files = depset([archive])),
        OutputGroupInfo(listing = depset([listing]), segments = depset([s.archive for s in segments])),
        InitrdInfo(
            arch = kernel.arch,
            archive = archive,
            listing = listing,
            programs = {
                path: struct(file = _only_file(target), buildinfo = target[GoModulesInfo].buildinfo)
                for path, target in ctx.attr.binaries.items()
            },
            segments = segments,
        ),
    ]

def _files_segment(ctx, name, lower, flag, files, compression = None):
    args = ctx.actions.args()
    for path, target in files.items():
        args.add(_only_file(target), format = "{}={}=%s".format(flag, path.replace("%", "%%")))
    return _segment(ctx, name, lower, args, [_only_file(target) for target in files.values()], compression)

def _segment(ctx, name, lower, args, inputs, compression = None):
    archive = ctx.actions.declare_file("{}_segments/{}.cpio".format(ctx.label.name, name))
    listing = ctx.actions.declare_file("{}_segments/{}.mtree".format(ctx.label.name, name))
    common = ctx.actions.args()
    common.add("--arch", ctx.attr.kernel[KernelInfo].arch)
    common.add_all([segment.listing for segment in lower], before_each = "--lower")
    common.add("--compression", compression or ctx.attr.compression)
    _run(
        ctx,
        "segment",
        "MkInitrdSegment",
        "Making segment {} of %{{label}}".format(name),
        [common, args],
        depset(inputs + [segment.listing for segment in lower]),
        archive,
        listing,
    )
    return struct(archive = archive, listing = listing, name = name)

def _run(ctx, verb, mnemonic, message, args, inputs, archive, listing):
    outputs = ctx.actions.args()
    outputs.add("--out", archive)
    outputs.add("--listing", listing)
    for part in args + [outputs]:
        part.use_param_file("@%s", use_always = True)
        part.set_param_file_format("multiline")
    ctx.actions.run(
        executable = ctx.executable._mkinitrd,
        arguments = [verb] + args + [outputs],
        inputs = inputs,
        outputs = [archive, listing],
        mnemonic = mnemonic,
        progress_message = message,
        execution_requirements = {"supports-path-mapping": "1"},
    )

def _only_file(target):
    files = target[DefaultInfo].files.to_list()
    if len(files) != 1:
        fail("{} has {} files, want 1".format(target.label, len(files)))
    return files[0]

initrd = rule(
    _initrd_impl,
    doc = """A base, a kernel's modules, files and programs as one initrd.

Each is a segment of its own, made by an action of its own, so that a change of
one leaves the others as they are.""",
    attrs = {
        "base": attr.label(doc = "Layer below everything else.", providers = [BaseInfo]),
        "binaries": attr.string_keyed_label_dict(
            mandatory = True,
            aspects = [go_modules],
            doc = "Static Go programs by their path in the initrd, mode 0555.",
        ),
        "compression": attr.string(
            default = "none",
            doc = "Of each segment but the headers', which are compressed in themselves. zstd-fast takes a tenth of zstd's time.",
            values = ["none", "zstd", "zstd-fast"],
        ),
        "files": attr.string_keyed_label_dict(doc = "Files by their path in the initrd, mode 0444.", allow_files = True),
        "headers": attr.label(doc = "The kernel's headers, as /kernel-headers.squashfs.", providers = [HeadersInfo]),
        "kernel": attr.label(mandatory = True, providers = [KernelInfo]),
        "modules": attr.string_list(doc = "Kernel modules that init loads, in this order, each behind what it depends on."),
        "optional_modules": attr.string_list(doc = "Kernel modules that are there for when they are needed."),
        "programs_compression": attr.string(
            doc = "Of the programs' segment, which is made again whenever one of them is edited. By default as the others.",
            values = ["", "none", "zstd", "zstd-fast"],
        ),
        "_mkinitrd": attr.label(default = "//tools/mkinitrd", executable = True, cfg = "exec"),
    },
    provides = [InitrdInfo],
)
