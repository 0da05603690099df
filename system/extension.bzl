"""Makes repositories of the artifacts in the lock."""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_file")
load(":debian_package.bzl", "debian_package")
load(":lock.bzl", "ARCHES", "parse_lock")

_PIN = "tools/bazel run //tools/pin -- update {name} --arch {arch}"

def _artifacts_impl(ctx):
    lock, problems = parse_lock(ctx.read(Label("//system:artifacts.lock.json")))
    if problems:
        fail("system/artifacts.lock.json:\n  " + "\n  ".join(problems))
    build = ["""load("@kindling//system:pinned_file.bzl", "pinned_file", "unpinned_file")"""]
    for artifact in lock.artifacts:
        build.append(_repository(artifact))
    names = {}
    for artifact in lock.artifacts:
        names.setdefault(artifact.name, []).append(artifact.arch)
    for name, arches in names.items():
        build.append(_choice(name, arches))
    build.append(_group("debian_packages", [artifact for artifact in lock.artifacts if artifact.path]))
    build.append(_group("url_files", [artifact for artifact in lock.artifacts if artifact.urls and artifact.sha256]))
    _hub(
        name = "artifacts",
        build = "\n".join(build),
        index = _index(lock),
    )
    return ctx.extension_metadata(
        reproducible = True,
        root_module_direct_deps = ["artifacts"],
        root_module_direct_dev_deps = [],
    )

def _repository(artifact):
    """Makes the repository of an artifact and gives its target in the hub."""
    name = "{}_{}".format(artifact.name, artifact.arch)
    if not artifact.sha256:
        return _call(
            "unpinned_file",
            name = name,
            pin = _PIN.format(name = artifact.name, arch = artifact.arch),
            url = artifact.urls[0],
        )
    if artifact.urls:
        http_file(
            name = name,
            downloaded_file_path = artifact.urls[0].split("/")[-1],
            sha256 = artifact.sha256,
            urls = artifact.urls,
        )
        src = "@{}//file".format(name)
    else:
        debian_package(name = name, path = artifact.path, sha256 = artifact.sha256)
        src = "@{}//:{}".format(name, artifact.path.split("/")[-1])
    return _call(
        "pinned_file",
        name = name,
        src = src,
        arch = artifact.arch,
        artifact = artifact.name,
        sha256 = artifact.sha256,
    )

def _choice(name, arches):
    """The target that is an artifact for the architecture that is built for."""
    actual = ":{}_all".format(name) if arches == ["all"] else None
    return """
alias(
    name = {name},
    actual = {actual},
    visibility = ["//visibility:public"],
)""".format(
        name = repr(name),
        actual = repr(actual) if actual else "select({%s})" % ", ".join([
            "{}: {}".format(repr("@platforms//cpu:" + arch), repr(":{}_{}".format(name, arch)))
            for arch in arches
        ]),
    )

def _group(name, artifacts):
    """Pinned files of all architectures. The _ keeps its name apart from artifacts' names."""
    return _call(
        "filegroup",
        name = name,
        srcs = [":{}_{}".format(artifact.name, artifact.arch) for artifact in artifacts],
    )

def _call(rule, **kwargs):
    return "\n{}(\n{}    visibility = [\"//visibility:public\"],\n)".format(
        rule,
        "".join(["    {} = {},\n".format(key, repr(value)) for key, value in kwargs.items()]),
    )

def _index(lock):
    """What BUILD files have to know of the lock to declare targets for all of it."""
    kernels = {}
    bases = {}
    packages = []
    for artifact in lock.artifacts:
        if artifact.kind == "package":
            packages.append(artifact.name)
        if artifact.kind in ["headers", "package"]:
            continue
        kind = kernels if artifact.kind == "kernel" else bases
        known = kind.setdefault(artifact.name, {"headers": artifact.headers, "is_deb": bool(artifact.package), "is_pinned": True})
        if not artifact.sha256:
            known["is_pinned"] = False
    return """\
\"\"\"What the lock has.\"\"\"

ARCHES = {arches}
BASES = {bases}
KERNELS = {kernels}
PACKAGES = {packages}
PROFILES = {profiles}
""".format(
        arches = repr(ARCHES),
        bases = repr(bases),
        kernels = repr(kernels),
        packages = repr(packages),
        profiles = repr(lock.profiles),
    )

def _hub_impl(ctx):
    ctx.file("BUILD.bazel", ctx.attr.build)
    ctx.file("index.bzl", ctx.attr.index)

_hub = repository_rule(
    _hub_impl,
    attrs = {
        "build": attr.string(mandatory = True),
        "index": attr.string(mandatory = True),
    },
)

artifacts = module_extension(
    _artifacts_impl,
    doc = """The repository @artifacts with a target for every artifact, NAME_ARCH, and one
NAME for the architecture that is built for. A file is fetched when something that
needs it is built.""",
)
