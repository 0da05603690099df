"""Tests of the lock's reader."""

load("@bazel_skylib//lib:unittest.bzl", "asserts", "unittest")
load(":lock.bzl", "parse_lock")

_KERNEL = {
    "arch": "x86_64",
    "headers": ["a-headers", "b-headers"],
    "kind": "kernel",
    "license": "GPL-2.0-only",
    "name": "linux-6.1",
    "package": "linux-image",
    "path": "pool/main/l/linux/linux-image_1_amd64.deb",
    "sha256": "0123456789abcdef" * 4,
    "size": 12,
    "version": "1-2",
}
_BASE = {
    "arch": "x86_64",
    "kind": "base",
    "license": "MIT",
    "name": "base",
    "urls": ["https://example.org/a/base.tar.gz", "https://example.net/base.tar.gz"],
    "version": "3",
}

def _without(entry, *fields):
    return {key: value for key, value in entry.items() if key not in fields}

def _arm(entry):
    return entry | {"arch": "aarch64"}

# Everything that a lock needs, and stands before and behind other entries.
_BEFORE = [
    _without(_KERNEL, "headers") | {"arch": "all", "kind": "headers", "name": "a-headers"},
    _arm(_without(_KERNEL, "headers") | {"kind": "headers", "name": "b-headers"}),
    _without(_KERNEL, "headers") | {"kind": "headers", "name": "b-headers"},
    _arm(_BASE),
    _BASE,
]
_GOOD = _BEFORE + [_arm(_KERNEL), _KERNEL]
_PROFILES = {"p": {"base": "base", "kernel": "linux-6.1"}}

def _lock(artifacts = _GOOD, profiles = _PROFILES, version = 1):
    return json.encode({"artifacts": artifacts, "profiles": profiles, "version": version})

def _accepts_impl(ctx):
    env = unittest.begin(ctx)
    lock, problems = parse_lock(_lock())
    asserts.equals(env, [], problems)
    asserts.equals(env, ["a-headers", "b-headers", "b-headers", "base", "base", "linux-6.1", "linux-6.1"], [a.name for a in lock.artifacts])
    asserts.equals(env, (None, None, 2, []), (lock.artifacts[4].sha256, lock.artifacts[4].path, len(lock.artifacts[4].urls), lock.artifacts[4].headers))
    asserts.equals(env, _PROFILES, lock.profiles)
    pinned = _BASE | {"sha256": "0" * 64}
    _, problems = parse_lock(_lock(_BEFORE[:-1] + [pinned] + _GOOD[-2:]))
    asserts.equals(env, [], problems)
    return unittest.end(env)

accepts_test = unittest.make(_accepts_impl)

def _rejects_impl(ctx):
    env = unittest.begin(ctx)

    last = "artifact 6 (linux-6.1 x86_64): "
    for change, want in [
        ({"sha1": "x"}, "unknown field sha1"),
        ({"size": "12"}, "size is \"12\", want a int"),
        ({"version": ""}, "version is \"\", want a string"),
        ({"license": None}, "license is None, want a string"),
        ({"name": "linux+6.1"}, "name may have only lower-case letters, digits, . and -"),
        ({"arch": "amd64"}, "arch is amd64, want one of aarch64, x86_64"),
        ({"arch": "all"}, "arch is all, want one of aarch64, x86_64"),
        ({"kind": "toy"}, "kind is toy, want one of base, headers, kernel, package"),
        ({"sha256": "abc"}, "sha256 is abc, want 64 hexadecimal digits"),
        ({"sha256": "A" * 64}, "sha256 is " + "A" * 64 + ", want 64 hexadecimal digits"),
        ({"size": -1}, "size is -1"),
        ({"path": "pool/../x.deb"}, "path is pool/../x.deb, want pool/....deb"),
        ({"path": "pool/x.tar"}, "path is pool/x.tar, want pool/....deb"),
        ({"urls": ["https://a/b"]}, "want either urls or package and path"),
        ({"headers": ["b-headers", "a-headers"]}, "headers is [\"b-headers\", \"a-headers\"], want names in order"),
        ({"headers": [1]}, "headers is [1], want names in order"),
        ({"kind": "base"}, "only a kernel has headers"),
    ]:
        entry = _KERNEL | change
        _, problems = parse_lock(_lock(_BEFORE + [_arm(_KERNEL), entry], {"p": {"base": "base", "kernel": "linux-6.1"}}))
        prefix = "artifact 6 ({} {}): ".format(entry["name"], entry["arch"])
        asserts.true(env, prefix + want in problems, "{}: got {}, want {}".format(change, problems, prefix + want))

    for field in ["license", "version"]:
        _, problems = parse_lock(_lock(_BEFORE + [_arm(_KERNEL), _without(_KERNEL, field)]))
        asserts.true(env, last + "missing field " + field in problems, str(problems))
    for field in ["package", "path", "size"]:
        _, problems = parse_lock(_lock(_BEFORE + [_arm(_KERNEL), _without(_KERNEL, field)]))
        asserts.true(env, last + "missing field {} (or urls)".format(field) in problems, str(problems))

    for urls, want in [
        (["http://a/b"], "url is \"http://a/b\", want https://HOST/PATH"),
        (["https://a"], "url is \"https://a\", want https://HOST/PATH"),
        ([7], "url is 7, want https://HOST/PATH"),
        (["https://u:p@a/b"], "url https://u:p@a/b has a user, a query, a fragment or an unclean path"),
        (["https://a/b?x=1"], "url https://a/b?x=1 has a user, a query, a fragment or an unclean path"),
        (["https://a/../b"], "url https://a/../b has a user, a query, a fragment or an unclean path"),
        (["https://github.com/o/r/archive/v1.tar.gz"], "url https://github.com/o/r/archive/v1.tar.gz is of an archive that GitHub makes anew, whose bytes change"),
        (["https://a/b", "https://a/b"], "url https://a/b stands twice"),
        (["https://a/b", "https://a/c"], "urls end in different file names: b, c"),
        ([], "urls is [], want a list"),
    ]:
        _, problems = parse_lock(_lock(_BEFORE[:-1] + [_BASE | {"urls": urls}] + _GOOD[-2:]))
        want = "artifact 4 (base x86_64): " + want
        asserts.true(env, want in problems, "got {}, want {}".format(problems, want))
    _, problems = parse_lock(_lock(_BEFORE[:-1] + [_BASE | {"size": 3}] + _GOOD[-2:]))
    asserts.equals(env, "artifact 4 (base x86_64): size without sha256", problems[0])

    for text, want in [
        ("[]", "want an object with exactly the keys artifacts, profiles and version"),
        (_lock(version = 2), "version is 2, want 1"),
        (json.encode({"artifacts": [], "version": 1}), "want an object with exactly the keys artifacts, profiles and version"),
        (_lock(_GOOD + ["x"]), "artifact 7 (?): want an object"),
        (_lock(_GOOD + [_KERNEL]), "artifact 7 (linux-6.1 x86_64): stands twice"),
        (_lock(_GOOD + [_BASE]), "artifact 7 (base x86_64): want order by name, then arch"),
        (_lock(_GOOD[1:]), "artifact linux-6.1 (x86_64): there are no headers a-headers"),
        (_lock(profiles = {}), "profiles is {}, want an object"),
        (_lock(profiles = {"p": {"base": "base"}}), "profile p: want exactly the keys base and kernel"),
        (_lock(profiles = {"p": {"base": "linux-6.1", "kernel": "linux-6.1"}}), "profile p: there is no base linux-6.1 for aarch64"),
        (_lock(_GOOD[:-1]), "profile p: there is no kernel linux-6.1 for x86_64"),
    ]:
        _, problems = parse_lock(text)
        asserts.true(env, want in problems, "got {}, want {}".format(problems, want))
    return unittest.end(env)

rejects_test = unittest.make(_rejects_impl)

def lock_test_suite(name):
    unittest.suite(name, accepts_test, rejects_test)
