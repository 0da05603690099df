"""Makes a repository of every artifact in the lock."""

load(":debian_package.bzl", "debian_package")
load(":lock.bzl", "parse_lock")

def _artifacts_impl(ctx):
    artifacts, problems = parse_lock(ctx.read(Label("//system:artifacts.lock.json")))
    if problems:
        fail("system/artifacts.lock.json:\n  " + "\n  ".join(problems))
    for artifact in artifacts:
        debian_package(
            name = artifact.repository,
            arch = artifact.arch,
            path = artifact.path,
            sha256 = artifact.sha256,
        )
    return ctx.extension_metadata(reproducible = True)

artifacts = module_extension(
    _artifacts_impl,
    doc = "One repository per artifact, NAME_ARCH, with the target //:package.",
)
