"""Fetches the Go modules of a mirror."""

# Those that tools/launcher copies.
_MODULES = {"gazelle": "github.com/bazelbuild/bazel-gazelle", "rules_go": "github.com/bazelbuild/rules_go"}

_BUILD = """exports_files(["goproxy/ROOT"])

filegroup(
    name = "files",
    srcs = glob(
        ["goproxy/**/*" + ending for ending in [".info", ".mod", ".zip"]],
        allow_empty = True,
    ),
    visibility = ["//visibility:public"],
)
"""

def _go_modules_impl(ctx):
    ctx.file("BUILD.bazel", _BUILD)
    ctx.file("goproxy/ROOT")
    goroot = ctx.getenv("GOROOT")
    if not goroot:
        return  # not in a closed network's world, which alone has mirrors
    version = _lines(ctx, ctx.attr.go_mods[0], "go ")[0]
    arch = {"aarch64": "arm64", "x86_64": "amd64"}.get(ctx.os.arch, ctx.os.arch)
    modules = ["golang.org/toolchain@v0.0.1-go{}.{}-{}".format(version, ctx.os.name, arch)]
    for line in _lines(ctx, ctx.attr.module_bazel, "bazel_dep(name = "):
        name, _, version = line.removesuffix(")").replace("\"", "").partition(", version = ")
        if name in _MODULES:
            modules.append("{}@v{}".format(_MODULES[name], version))
    if len(modules) != 1 + len(_MODULES):
        fail("MODULE.bazel: want one line for each of {}".format(_MODULES.keys()))
    for index, go_mod in enumerate(ctx.attr.go_mods):
        # A copy, to which go may add.
        for name in ["go.mod", "go.sum"]:
            ctx.file("{}/{}".format(index, name), ctx.read(go_mod.same_package_label(name)))

        # The graph needs the .mod files of more modules than are downloaded.
        _go(ctx, goroot, str(index), ["mod", "graph"])
        _go(ctx, goroot, str(index), ["mod", "download"])
    _go(ctx, goroot, ".", ["mod", "download"] + modules)
    _run(ctx, ["cp", "-R", "cache/cache/download/.", "goproxy"])
    for folder in ["cache", "build"] + [str(index) for index in range(len(ctx.attr.go_mods))]:
        ctx.delete(folder)

def _lines(ctx, file, start):
    """The rest of each line of a file that begins so."""
    return [line.removeprefix(start) for line in ctx.read(file).splitlines() if line.startswith(start)]

def _go(ctx, goroot, folder, args):
    _run(ctx, [goroot + "/bin/go"] + args, folder, {
        "GO111MODULE": "on",
        "GOCACHE": str(ctx.path("build")),
        "GOFLAGS": "-mod=mod -modcacherw",
        "GOMODCACHE": str(ctx.path("cache")),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    })

def _run(ctx, command, folder = ".", environment = {}):
    result = ctx.execute(command, environment = environment, timeout = 1200, working_directory = folder)
    if result.return_code:
        fail("{}: {}".format(" ".join(command), result.stderr))

_go_modules = repository_rule(
    _go_modules_impl,
    doc = """A folder that is a proxy of all Go modules that a build may ask for, and of the toolchain.

They are those that the go.mod files require, of which gazelle takes the newest,
and those that tools/launcher copies. Go checks them by go.sum or by its
checksum database.""",
    attrs = {
        "go_mods": attr.label_list(mandatory = True, doc = "The first one says the version of Go."),
        "module_bazel": attr.label(mandatory = True),
    },
)

def _extension_impl(ctx):
    _go_modules(
        name = "go_modules",
        go_mods = [Label("@@//:go.mod"), Label("@rules_go//:go.mod"), Label("@gazelle//:go.mod")],
        module_bazel = Label("@@//:MODULE.bazel"),
    )
    return ctx.extension_metadata(
        reproducible = True,
        root_module_direct_deps = [],
        root_module_direct_dev_deps = ["go_modules"],
    )

go_modules = module_extension(_extension_impl)
