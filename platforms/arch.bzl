"""Builds things for an architecture that is named, whatever the command line says."""

def _platform(arch):
    return str(Label("//platforms:linux_" + arch))

# How --cpu calls the architecture that a build is for when nobody says so.
_HOST_CPUS = {"aarch64": "aarch64", "k8": "x86_64"}

def _for_arch(settings, arch):
    # Where the build is for the architecture already, nothing changes: other
    # settings of the same meaning would compile everything a second time.
    platforms = settings["//command_line_option:platforms"]
    if not platforms or [str(p) for p in platforms] == [str(settings["//command_line_option:host_platform"])]:
        if _HOST_CPUS.get(settings["//command_line_option:cpu"]) == arch:
            return {"//command_line_option:platforms": platforms}
    return {"//command_line_option:platforms": [_platform(arch)]}

_INPUTS = ["//command_line_option:cpu", "//command_line_option:host_platform", "//command_line_option:platforms"]
_OUTPUTS = ["//command_line_option:platforms"]

arch_transition = transition(
    implementation = lambda settings, attr: _for_arch(settings, attr.arch),
    inputs = _INPUTS,
    outputs = _OUTPUTS,
)

# For the attributes of a rule that has a list of architectures: ctx.split_attr
# has each for each.
arches_transition = transition(
    implementation = lambda settings, attr: {arch: _for_arch(settings, arch) for arch in attr.arches},
    inputs = _INPUTS,
    outputs = _OUTPUTS,
)

def _for_arch_impl(ctx):
    target = ctx.attr.actual[0]
    files = target[DefaultInfo].files
    if ctx.attr.output_group:
        files = getattr(target[OutputGroupInfo], ctx.attr.output_group)
    files = files.to_list()
    if len(files) != 1:
        fail("{} has {} files, want 1".format(target.label, len(files)))
    output = ctx.actions.declare_file(ctx.label.name + ctx.attr.suffix)
    ctx.actions.symlink(output = output, target_file = files[0])
    return [DefaultInfo(files = depset([output]))]

for_arch = rule(
    _for_arch_impl,
    doc = "The one file of another target, built for an architecture.",
    attrs = {
        "actual": attr.label(mandatory = True, cfg = arch_transition),
        "arch": attr.string(mandatory = True),
        "output_group": attr.string(doc = "Of the target, in place of its default files."),
        "suffix": attr.string(doc = "Of the file's name, behind the target's."),
    },
)
