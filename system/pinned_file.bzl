"""A fetched file together with what the lock says of it."""

PinnedFileInfo = provider(
    doc = "A file whose bytes the lock fixes. Tools that read it check the digest again: fetched files lie on disk for months.",
    fields = {
        "arch": "string: x86_64, aarch64 or all",
        "artifact": "string: its name in the lock",
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
            artifact = ctx.attr.artifact,
            file = ctx.file.src,
            refetch = "tools/bazel fetch --force --repo=@@" + ctx.attr.src.label.repo_name,
            sha256 = ctx.attr.sha256,
        ),
    ]

pinned_file = rule(
    _pinned_file_impl,
    doc = "Gives a fetched file its PinnedFileInfo.",
    attrs = {
        "arch": attr.string(mandatory = True),
        "artifact": attr.string(mandatory = True),
        "sha256": attr.string(mandatory = True),
        "src": attr.label(mandatory = True, allow_single_file = True),
    },
    provides = [PinnedFileInfo],
)

def _unpinned_file_impl(ctx):
    fail("""
No digest is known of {url}, so it is not used. To pin what is there now, run
    {pin}
""".format(url = ctx.attr.url, pin = ctx.attr.pin))

unpinned_file = rule(
    _unpinned_file_impl,
    doc = "An artifact that stands in the lock without a digest: using it is an error.",
    attrs = {
        "pin": attr.string(mandatory = True, doc = "Command that puts the digest into the lock."),
        "url": attr.string(mandatory = True),
    },
    provides = [PinnedFileInfo],
)
