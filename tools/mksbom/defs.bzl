"""Writes SBOMs and provenance."""

load("@rules_go//go:def.bzl", "GoArchive")
load("@rules_license//rules:providers.bzl", "PackageInfo")

GoModulesInfo = provider(
    doc = "The Go modules that a program is linked from.",
    fields = {
        "buildinfo": "File: as `go version -m` prints it, which programs made by rules_go do not have inside; of programs only.",
        "modules": "depset of strings: MODULE<TAB>VERSION.",
    },
)

_OWN_MODULE = "github.com/kindling-vm/kindling"

def _go_modules_impl(target, ctx):
    # gazelle says which module a repository is by the package metadata that it
    # gives to all of it.
    own = [
        "{}\tv{}".format(metadata[PackageInfo].package_name, metadata[PackageInfo].package_version)
        for metadata in getattr(ctx.rule.attr, "package_metadata", None) or getattr(ctx.rule.attr, "applicable_licenses", [])
        if PackageInfo in metadata and metadata[PackageInfo].package_version
    ]
    modules = depset(own, transitive = [
        dep[GoModulesInfo].modules
        for dep in getattr(ctx.rule.attr, "deps", []) + getattr(ctx.rule.attr, "embed", [])
        if GoModulesInfo in dep
    ])
    buildinfo = None
    if ctx.rule.kind == "go_binary":
        buildinfo = ctx.actions.declare_file(ctx.label.name + ".buildinfo")
        lines = ctx.actions.args()
        lines.set_param_file_format("multiline")
        lines.add("path\t" + target[GoArchive].data.importpath)
        lines.add("mod\t{}\t(devel)\t".format(_OWN_MODULE))
        lines.add_all(modules, format_each = "dep\t%s\t")
        ctx.actions.write(buildinfo, lines)
    return [GoModulesInfo(buildinfo = buildinfo, modules = modules)]

go_modules = aspect(
    _go_modules_impl,
    attr_aspects = ["deps", "embed"],
    doc = "Finds the Go modules behind a program.",
)

def sbom(ctx, prefix, arch, kernel, base, headers, initrd, files):
    """Makes the SBOM and the provenance of an artifact set for one architecture.

    Args:
        ctx: of a rule with the attributes of SBOM_ATTRS.
        prefix: of the names of the files, in the rule's package.
        arch: x86_64 or aarch64.
        kernel: KernelInfo.
        base: BaseInfo.
        headers: HeadersInfo.
        initrd: InitrdInfo.
        files: list of (kind, File) of the set.

    Returns:
        (File of the SBOM, File of the statement)
    """
    documents = [ctx.actions.declare_file(prefix + name) for name in ["sbom.cdx.json", "provenance.intoto.json"]]
    args = ctx.actions.args()
    args.use_param_file("@%s", use_always = True)
    args.set_param_file_format("multiline")
    args.add("--name", "kindling")
    args.add("--arch", arch)
    args.add("--lock", ctx.file._lock)
    args.add("--go-sum", ctx.file._go_sum)
    args.add("--artifact", "kernel=" + kernel.artifact)
    if base.artifact:
        args.add("--artifact", "base=" + base.artifact)
    for artifact in headers.artifacts:
        args.add("--artifact", "headers=" + artifact)
    for kind, file in files:
        args.add(file, format = "--file={}=%s".format(kind))
    inputs = [ctx.file._lock, ctx.file._go_sum] + [file for _, file in files]
    owners = {
        "base": [base.artifact or "image"],
        "files": ["source"],
        "headers": headers.artifacts[:1],
        "modules": [kernel.artifact],
    }
    for segment in initrd.segments:
        args.add(segment.listing, format = "--segment={}=%s".format(segment.name))
        inputs.append(segment.listing)
        for owner in owners.get(segment.name, []):
            args.add("--owner", "{}:/={}".format(segment.name, owner))
    for path, program in initrd.programs.items():
        args.add(program.file, format = "--binary={}=%s".format(path))
        args.add(program.buildinfo, format = "--buildinfo={}=%s".format(path))
        inputs.extend([program.file, program.buildinfo])
    args.add("--sbom", documents[0])
    args.add("--provenance", documents[1])
    ctx.actions.run(
        executable = ctx.executable._mksbom,
        arguments = [args] + (["@" + base.origin.path] if base.origin else []),
        inputs = inputs + ([base.origin] if base.origin else []),
        outputs = documents,
        mnemonic = "MkSBOM",
        progress_message = "Writing SBOM of %{{label}} for {}".format(arch),
    )
    return documents

SBOM_ATTRS = {
    "_go_sum": attr.label(default = "//:go.sum", allow_single_file = True),
    "_lock": attr.label(default = "//system:artifacts.lock.json", allow_single_file = True),
    "_mksbom": attr.label(default = "//tools/mksbom", executable = True, cfg = "exec"),
}
