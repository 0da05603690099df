"""What others share."""

SHARED = {
    "wait": attr.bool(doc = "Or not."),
    "_secret": attr.label(),
}

fetched = repository_rule(
    lambda ctx: None,
    doc = "Fetches.",
)

things = module_extension(
    lambda ctx: None,
    doc = "Finds things.",
)
