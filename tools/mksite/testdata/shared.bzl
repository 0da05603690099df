"""What others share."""

SHARED = {
    "_secret": attr.label(),
    "wait": attr.bool(doc = "Or not."),
}

fetched = repository_rule(
    lambda ctx: None,
    doc = "Fetches.",
)

things = module_extension(
    lambda ctx: None,
    doc = "Finds things.",
)
