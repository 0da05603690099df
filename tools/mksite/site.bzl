"""Makes a web site and man pages."""

def _site_impl(ctx):
    cli = ctx.actions.declare_file(ctx.label.name + "_cli.md")
    _describe(ctx, "markdown", cli)
    out = ctx.actions.declare_directory(ctx.label.name)
    args = ctx.actions.args()
    args.add("--cli", cli)
    args.add("--lock", ctx.file.lock)
    for file in ctx.files.bzl:
        args.add(file, format = "--bzl={}=%s".format(file.short_path))
    args.add_all("--out", [out], expand_directories = False)
    args.add_all(ctx.files.srcs)
    ctx.actions.run(
        executable = ctx.executable._mksite,
        arguments = [args],
        inputs = ctx.files.srcs + ctx.files.bzl + [ctx.file.lock, cli],
        outputs = [out],
        mnemonic = "MkSite",
        progress_message = "Making web site %{label}",
    )
    return [DefaultInfo(files = depset([out]))]

def _man_pages_impl(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    _describe(ctx, "man", out)
    return [DefaultInfo(files = depset([out]))]

def _describe(ctx, form, out):
    ctx.actions.run(
        executable = ctx.executable.program,
        arguments = ["docs", form, out.path],
        outputs = [out],
        mnemonic = "DescribeProgram",
        progress_message = "Describing the command line for %{label}",
    )

_PROGRAM = attr.label(mandatory = True, executable = True, cfg = "exec", doc = "What has the verbs docs man and docs markdown.")

site = rule(
    _site_impl,
    doc = "The folder NAME with a static web site: documents, and reference of the command line, the lock and rules.",
    attrs = {
        "bzl": attr.label_list(allow_files = [".bzl"], doc = "Files whose rules the reference has."),
        "lock": attr.label(mandatory = True, allow_single_file = [".json"], doc = "artifacts.lock.json."),
        "program": _PROGRAM,
        "srcs": attr.label_list(mandatory = True, allow_files = True, doc = "index.md, the pages that it lists, and files that they link to."),
        "_mksite": attr.label(default = "//tools/mksite", executable = True, cfg = "exec"),
    },
)

man_pages = rule(
    _man_pages_impl,
    doc = "The folder NAME with a man page for each verb of a program.",
    attrs = {"program": _PROGRAM},
)
