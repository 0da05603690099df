"""Reads artifacts.lock.json, the list of every byte that is not written here.

docs/artifacts.md describes the document. Whatever it does not describe is an
error, so that a misspelt field is not a pin that nobody checks. Package
//system/lock reads the same file in Go.
"""

ARCHES = ["aarch64", "x86_64"]

# Field -> its type.
_ALWAYS = {"arch": "string", "kind": "string", "license": "string", "name": "string", "version": "string"}
_SOMETIMES = {"headers": "list", "package": "string", "path": "string", "sha256": "string", "size": "int", "urls": "list"}

# Kind -> architectures it may be for.
_KINDS = {"base": ARCHES, "headers": ARCHES + ["all"], "kernel": ARCHES, "package": ARCHES}
_HEX = "0123456789abcdef"
_NAME = "abcdefghijklmnopqrstuvwxyz0123456789.-"

def parse_lock(text):
    """Parses the lock.

    Args:
        text: string: the document.

    Returns:
        (struct of artifacts, a list of structs with the fields of the document,
        None or [] where missing, and profiles, a dict; list of strings that each
        name one problem)
    """
    document = json.decode(text)
    if type(document) != "dict" or sorted(document.keys()) != ["artifacts", "profiles", "version"]:
        return None, ["want an object with exactly the keys artifacts, profiles and version"]
    if document["version"] != 1:
        return None, ["version is {}, want 1".format(repr(document["version"]))]
    artifacts = []
    problems = []
    known = {}
    previous = ("", "")
    for index, entry in enumerate(document["artifacts"]):
        found = _check(entry)
        if found:
            name = "{} {}".format(entry.get("name", "?"), entry.get("arch", "?")) if type(entry) == "dict" else "?"
            problems.extend(["artifact {} ({}): {}".format(index, name, problem) for problem in found])
            continue
        key = (entry["name"], entry["arch"])
        if key == previous:
            problems.append("artifact {} ({} {}): stands twice".format(index, *key))
        elif key < previous:
            problems.append("artifact {} ({} {}): want order by name, then arch".format(index, *key))
        previous = key
        known[key] = entry["kind"]
        artifacts.append(struct(**({field: None for field in _SOMETIMES} | {"headers": [], "urls": []} | entry)))
    for artifact in artifacts:
        for name in artifact.headers:
            if "headers" not in [known.get((name, artifact.arch)), known.get((name, "all"))]:
                problems.append("artifact {} ({}): there are no headers {}".format(artifact.name, artifact.arch, name))
    problems.extend(_check_profiles(document["profiles"], known))
    return struct(artifacts = artifacts, profiles = document["profiles"]), problems

def _check_profiles(profiles, known):
    if type(profiles) != "dict" or not profiles:
        return ["profiles is {}, want an object".format(repr(profiles))]
    problems = []
    for profile, choice in profiles.items():
        if type(choice) != "dict" or sorted(choice.keys()) != ["base", "kernel"]:
            problems.append("profile {}: want exactly the keys base and kernel".format(profile))
            continue
        for kind, name in choice.items():
            problems.extend([
                "profile {}: there is no {} {} for {}".format(profile, kind, name, arch)
                for arch in ARCHES
                if known.get((name, arch)) != kind
            ])
    return problems

def _check(entry):
    if type(entry) != "dict":
        return ["want an object"]
    problems = ["unknown field {}".format(key) for key in entry if key not in _ALWAYS and key not in _SOMETIMES]
    problems.extend(["missing field {}".format(field) for field in _ALWAYS if field not in entry])
    for field, kind in (_ALWAYS | _SOMETIMES).items():
        if field in entry and (type(entry[field]) != kind or not entry[field]):
            problems.append("{} is {}, want a {}".format(field, repr(entry[field]), kind))
    if problems:
        return problems
    if not _consists_of(entry["name"], _NAME):
        problems.append("name may have only lower-case letters, digits, . and -")
    if entry["kind"] not in _KINDS:
        return problems + ["kind is {}, want one of {}".format(entry["kind"], ", ".join(_KINDS.keys()))]
    if entry["arch"] not in _KINDS[entry["kind"]]:
        problems.append("arch is {}, want one of {}".format(entry["arch"], ", ".join(_KINDS[entry["kind"]])))
    return problems + _check_digest(entry) + _check_source(entry) + _check_headers(entry)

def _check_digest(entry):
    if "sha256" not in entry:
        return ["size without sha256"] if "size" in entry else []
    if len(entry["sha256"]) != 64 or not _consists_of(entry["sha256"], _HEX):
        return ["sha256 is {}, want 64 hexadecimal digits".format(entry["sha256"])]
    if entry.get("size", 1) < 1:
        return ["size is {}".format(entry["size"])]
    return []

def _check_source(entry):
    if "urls" in entry:
        if "package" in entry or "path" in entry:
            return ["want either urls or package and path"]
        return _check_urls(entry["urls"])
    missing = [field for field in ["package", "path", "sha256", "size"] if field not in entry]
    if missing:
        return ["missing field {} (or urls)".format(field) for field in missing]
    path = entry["path"]
    if not path.startswith("pool/") or not path.endswith(".deb") or not _is_clean(path):
        return ["path is {}, want pool/....deb".format(path)]
    return []

def _check_urls(urls):
    problems = []
    names = {}
    for index, url in enumerate(urls):
        host, _, path = url.removeprefix("https://").partition("/") if type(url) == "string" else ("", "", "")
        if not host or not path or not url.startswith("https://"):
            problems.append("url is {}, want https://HOST/PATH".format(repr(url)))
        elif "@" in host or "#" in url or "?" in url or not _is_clean(path):
            problems.append("url {} has a user, a query, a fragment or an unclean path".format(url))
        elif host == "github.com" and "/archive/" in url:
            problems.append("url {} is of an archive that GitHub makes anew, whose bytes change".format(url))
        elif url in urls[:index]:
            problems.append("url {} stands twice".format(url))
        else:
            names[path.split("/")[-1]] = True
    if len(names) > 1:
        problems.append("urls end in different file names: {}".format(", ".join(sorted(names))))
    return problems

def _check_headers(entry):
    headers = entry.get("headers", [])
    if headers and entry["kind"] != "kernel":
        return ["only a kernel has headers"]
    if [name for name in headers if type(name) != "string"] or headers != sorted({name: True for name in headers}.keys()):
        return ["headers is {}, want names in order".format(headers)]
    return []

def _is_clean(path):
    return not [part for part in path.split("/") if part in ["", ".", ".."]]

def _consists_of(text, alphabet):
    return all([char in alphabet for char in text.elems()])
