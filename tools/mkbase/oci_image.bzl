"""Fetches OCI images by digest."""

load("@bazel_tools//tools/build_defs/repo:utils.bzl", "read_user_netrc", "use_netrc")

_INDEXES = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]
_MANIFESTS = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]

_BUILD = """\
filegroup(
    name = "image",
    srcs = ["oci-layout"] + glob(["blobs/**", "index.json"]),
    visibility = ["//visibility:public"],
)
"""

def _oci_image_impl(ctx):
    name, _, digest = ctx.attr.image.partition("@")
    registry, _, repository = name.partition("/")
    if not registry or not repository or not digest.startswith("sha256:"):
        fail("image is {}, want HOST/NAME@sha256:HEX: a tag can move".format(repr(ctx.attr.image)))
    base = "{}://{}/v2/{}".format("http" if ctx.attr.insecure else "https", registry, repository)
    headers = {}
    if ctx.attr.token_url:
        ctx.download(url = ctx.attr.token_url, output = "token.json")
        token = json.decode(ctx.read("token.json"))
        headers["Authorization"] = "Bearer " + (token.get("token") or token.get("access_token"))
        ctx.delete("token.json")

    def fetch(kind, digest, accept):
        algorithm, _, hex = digest.partition(":")
        if algorithm != "sha256":
            fail("{} has digest {}, want sha256".format(ctx.attr.image, digest))
        url = "{}/{}/{}".format(base, kind, digest)
        ctx.download(
            url = url,
            output = "blobs/sha256/" + hex,
            sha256 = hex,
            headers = headers | {"Accept": ", ".join(accept)},
            auth = use_netrc(read_user_netrc(ctx), [url], {}) if not headers else {},
        )
        return "blobs/sha256/" + hex

    root = json.decode(ctx.read(fetch("manifests", digest, _INDEXES + _MANIFESTS)))
    children = [
        child
        for child in root.get("manifests", [])
        if child.get("platform", {}).get("os") == "linux" and child["platform"].get("architecture") in ctx.attr.architectures
    ]
    missing = [arch for arch in ctx.attr.architectures if arch not in [child["platform"]["architecture"] for child in children]]
    if "manifests" in root and missing:
        fail("{} has no image for {}".format(ctx.attr.image, ", ".join(missing)))
    manifests = [root] if "manifests" not in root else [
        json.decode(ctx.read(fetch("manifests", child["digest"], _MANIFESTS)))
        for child in children
    ]
    for manifest in manifests:
        for blob in [manifest["config"]] + manifest["layers"]:
            fetch("blobs", blob["digest"], ["*/*"])
    ctx.file("oci-layout", json.encode({"imageLayoutVersion": "1.0.0"}))
    ctx.file("index.json", json.encode({
        "manifests": [{
            "digest": digest,
            "mediaType": root.get("mediaType") or (_INDEXES if "manifests" in root else _MANIFESTS)[0],
            "size": len(ctx.read("blobs/sha256/" + digest.removeprefix("sha256:"))),
        }],
        "schemaVersion": 2,
    }))
    ctx.file("BUILD.bazel", _BUILD)

oci_image = repository_rule(
    _oci_image_impl,
    doc = """An image in a registry, by digest, as an OCI image layout: //:image.

Every file goes through Bazel's downloader, with its repository cache and
--distdir. Credentials are those of ~/.netrc.""",
    attrs = {
        "architectures": attr.string_list(default = ["amd64", "arm64"], doc = "Of an index, the images to fetch."),
        "image": attr.string(mandatory = True, doc = "HOST/NAME@sha256:HEX"),
        "insecure": attr.bool(doc = "Speak HTTP, as with a registry on this machine."),
        "token_url": attr.string(doc = "Where the registry gives out tokens to everybody."),
    },
)
