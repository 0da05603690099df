"""A fetched file together with what the lock says of it."""

PinnedFileInfo = provider(
    doc = "A file whose bytes the lock fixes. Tools that read it check the digest again: fetched files lie on disk for months.",
    fields = {
        "arch": "string: x86_64 or aarch64",
        "file": "File",
        "refetch": "string: command that fetches the file again",
        "sha256": "string: 64 hexadecimal digits",
    },
)

def _pinned_file_impl(ctx):
    return [
        DefaultInfo(files = depset([ctx.file.src])),
        PinnedFileInfo(
            arch = ctx.attr.arch,
            file = ctx.file.src,
            refetch = "tools/bazel fetch --force --repo=@@" + ctx.label.repo_name,
            sha256 = ctx.attr.sha256,
        ),
    ]

pinned_file = rule(
    _pinned_file_impl,
    doc = "Gives a fetched file its PinnedFileInfo.",
    attrs = {
        "arch": attr.string(mandatory = True),
        "sha256": attr.string(mandatory = True),
        "src": attr.label(mandatory = True, allow_single_file = True),
    },
    provides = [PinnedFileInfo],
)
