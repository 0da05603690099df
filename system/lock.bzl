"""Reads artifacts.lock.json, the list of every byte that is not written here.

The document is `{"version": 1, "artifacts": [...]}`. Its artifacts stand in
order of (name, arch), each with exactly these fields:

    name     what it is, [a-z0-9.-]+; with the arch it names a repository
    arch     x86_64 or aarch64
    kind     base or kernel
    version  as its publisher writes it
    sha256   64 lower-case hexadecimal digits
    size     in bytes
    package  the Debian package that it is
    path     below a Debian mirror, pool/....deb

Everything else is an error, so that a misspelt field is not a pin that nobody
checks. sha256 is what is checked of the bytes; kind, version, package and size
are for people and for programs that show the lock.
"""

_FIELDS = {
    "arch": "string",
    "kind": "string",
    "name": "string",
    "package": "string",
    "path": "string",
    "sha256": "string",
    "size": "int",
    "version": "string",
}
_ARCHES = ["aarch64", "x86_64"]
_KINDS = ["base", "kernel"]
_HEX = "0123456789abcdef"
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789.-"

def parse_lock(text):
    """Parses the lock.

    Args:
        text: string: the document.

    Returns:
        (list of structs with the documented fields and `repository`, list of
        strings that each name one problem)
    """
    document = json.decode(text)
    problems = []
    if type(document) != "dict" or sorted(document.keys()) != ["artifacts", "version"]:
        return [], ["want an object with exactly the keys artifacts and version"]
    if document["version"] != 1:
        return [], ["version is {}, want 1".format(repr(document["version"]))]
    artifacts = []
    previous = ("", "")
    for index, entry in enumerate(document["artifacts"]):
        found = _check(entry)
        if found:
            name = entry.get("name", "?") if type(entry) == "dict" else "?"
            problems.extend(["artifact {} ({}): {}".format(index, name, problem) for problem in found])
            continue
        key = (entry["name"], entry["arch"])
        if key == previous:
            problems.append("artifact {} ({}): stands twice for {}".format(index, key[0], key[1]))
        elif key < previous:
            problems.append("artifact {} ({}): want order by name, then arch".format(index, key[0]))
        previous = key
        artifacts.append(struct(repository = "{}_{}".format(*key), **entry))
    return artifacts, problems

def _check(entry):
    if type(entry) != "dict":
        return ["want an object"]
    problems = ["unknown field {}".format(key) for key in entry if key not in _FIELDS]
    for field, kind in _FIELDS.items():
        if field not in entry:
            problems.append("missing field " + field)
        elif type(entry[field]) != kind or not entry[field]:
            problems.append("{} is {}, want a {}".format(field, repr(entry[field]), kind))
    if problems:
        return problems
    if not _consists_of(entry["name"], _NAME):
        problems.append("name may have only lower-case letters, digits, . and -")
    if entry["arch"] not in _ARCHES:
        problems.append("arch is {}, want one of {}".format(entry["arch"], ", ".join(_ARCHES)))
    if entry["kind"] not in _KINDS:
        problems.append("kind is {}, want one of {}".format(entry["kind"], ", ".join(_KINDS)))
    if len(entry["sha256"]) != 64 or not _consists_of(entry["sha256"], _HEX):
        problems.append("sha256 is {}, want 64 hexadecimal digits".format(entry["sha256"]))
    if entry["size"] < 0:
        problems.append("size is {}".format(entry["size"]))
    path = entry["path"]
    if not path.startswith("pool/") or not path.endswith(".deb") or ".." in path.split("/"):
        problems.append("path is {}, want pool/....deb".format(path))
    return problems

def _consists_of(text, alphabet):
    return all([char in alphabet for char in text.elems()])
