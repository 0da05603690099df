"""Fetches a Debian package by digest from whichever mirror the machine uses."""

# Some address must be given even where the repository cache or a distdir has
# the file. RFC 2606 promises that this one never answers.
_NO_MIRROR = "https://no-debian-mirror.invalid"

_HELP = """
{path} could not be had.
  wanted sha256: {sha256}
  tried:         {url}
A warning above says what went wrong, unless downloads are off (--config=airgap).
To mend it, one of:
  - set DEBIAN_MIRROR to the URL of a Debian mirror that answers from here;
  - put the file into a folder and add --distdir=FOLDER;
  - if the digest differs, the mirror or a proxy sent other bytes: use another.
"""

def _debian_package_impl(ctx):
    mirror = ctx.getenv("DEBIAN_MIRROR") or _apt_mirror(ctx) or _NO_MIRROR
    url = "{}/{}".format(mirror.rstrip("/"), ctx.attr.path)
    result = ctx.download(
        url = [url],
        output = ctx.attr.path.split("/")[-1],
        sha256 = ctx.attr.sha256,
        allow_fail = True,
    )
    if not result.success:
        fail(_HELP.format(path = ctx.attr.path, sha256 = ctx.attr.sha256, url = url))
    ctx.file("BUILD.bazel", "exports_files([{}])".format(repr(ctx.attr.path.split("/")[-1])))

def _apt_mirror(ctx):
    apt = ctx.which("apt-get")
    if not apt:
        return None
    result = ctx.execute([apt, "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Identifier: Packages"])
    for line in result.stdout.splitlines():
        if line.startswith("Debian Debian "):
            return line.split(" ")[2]
    return None

debian_package = repository_rule(
    _debian_package_impl,
    doc = "A package at a path below a Debian mirror.",
    attrs = {
        "path": attr.string(mandatory = True),
        "sha256": attr.string(mandatory = True),
    },
)
