"""Tells tests how the Bazel that runs them was started, so that they can start another."""

_BUILD = """exports_files(["this_bazel.json"])

filegroup(
    name = "examples",
    srcs = glob(
        ["workspace/examples/**"],
        exclude = ["workspace/examples/bazel-*/**"],
    ),
    visibility = ["//visibility:public"],
)
"""

def _sources(dir):
    # Not the links that Bazel makes, nor what one person wants on one machine.
    return [
        entry
        for entry in dir.readdir()
        if not entry.basename.startswith("bazel-") and entry.basename not in [".git", ".bazelrc.user"]
    ]

def _this_bazel_impl(ctx):
    root = ctx.path(Label("@@//:MODULE.bazel")).dirname
    sources = _sources(root)
    for entry in sources + _sources(root.get_child("examples")):
        if entry.basename == "examples":
            continue
        if entry.is_dir:
            ctx.watch_tree(entry)
        else:
            ctx.watch(entry)
    ctx.file("workspace/.keep")
    result = ctx.execute(["cp", "-R", "-P"] + sources + [ctx.path("workspace")])
    if result.return_code:
        fail("copy workspace: " + result.stderr)
    command = json.decode(ctx.getenv("KINDLING_START", "[]"))

    # A Bazel that needs the internet to resolve modules cannot run in a test.
    ctx.file("compatible.bzl", "NESTED_BAZEL = {}\n".format([] if command else ["@platforms//:incompatible"]))
    ctx.file("this_bazel.json", json.encode({
        "command": command,
        "external": str(ctx.path(".").dirname),
        "goroot": ctx.getenv("GOROOT", ""),
        "root": ctx.getenv("KINDLING_ROOT", ""),
        "workspace": str(ctx.path("workspace")),
    }))
    ctx.file("BUILD.bazel", _BUILD)

_this_bazel = repository_rule(
    _this_bazel_impl,
    doc = """this_bazel.json, what tests with it are compatible with (NESTED_BAZEL), and a copy of the workspace that follows every change.

The copy is there because tests do not see a workspace below /tmp. It is no
declared input but for the examples, which are a workspace of their own: what a
test builds in it is, so that the test runs again when that changes and not at
every other edit.""",
)

this_bazel = module_extension(lambda ctx: _this_bazel(name = "this_bazel"))
