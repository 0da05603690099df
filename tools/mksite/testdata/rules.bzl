"""Examples."""

load("//other:defs.bzl", "SHARED")

LIST = ["a"]
_LOCAL = {"size": attr.int(default = 3, doc = "In `bytes`.")}

ExampleInfo = provider(
    doc = "What an example has.",
    fields = {"file": "File: the one."},
)

def _impl(ctx):
    """Private."""
    return [ctx]

example = rule(
    _impl,
    doc = """Makes <examples> of *things*.

As in:

    example(
        name = "a",
    )""",
    attrs = {
        "colour": attr.string(values = ["red", "blue"], doc = "Of it."),
        "deps": attr.label_list(
            default = [
                "//a",
                "//b",
            ],
            providers = [ExampleInfo],
        ),
        "src": attr.label(mandatory = True, allow_single_file = True),
        "_tool": attr.label(default = "//tool"),
    } | _LOCAL | SHARED,
)

_private = rule(_impl)

def examples(name, sizes = [1, 2], **kwargs):
    """Several examples.

    They share what they can.

    Args:
        name: of all,
            and of each.
        sizes: in bytes.
        **kwargs: of example.

    Returns:
        nothing
    """
    example(name = name, size = sizes[0], **kwargs)

def undocumented(a):
    return a
