"""Tests of the lock's reader."""

load("@bazel_skylib//lib:unittest.bzl", "asserts", "unittest")
load(":lock.bzl", "parse_lock")

_GOOD = {
    "arch": "x86_64",
    "kind": "kernel",
    "name": "linux-6.1",
    "package": "linux-image",
    "path": "pool/main/l/linux/linux-image_1_amd64.deb",
    "sha256": "0123456789abcdef" * 4,
    "size": 12,
    "version": "1-2",
}

def _lock(*entries):
    return json.encode({"artifacts": entries, "version": 1})

def _accepts_impl(ctx):
    env = unittest.begin(ctx)
    other = _GOOD | {"arch": "aarch64"}
    artifacts, problems = parse_lock(_lock(other, _GOOD))
    asserts.equals(env, [], problems)
    asserts.equals(env, ["linux-6.1_aarch64", "linux-6.1_x86_64"], [a.repository for a in artifacts])
    asserts.equals(env, _GOOD["sha256"], artifacts[1].sha256)
    return unittest.end(env)

accepts_test = unittest.make(_accepts_impl)

def _rejects_impl(ctx):
    env = unittest.begin(ctx)
    without_size = dict(_GOOD)
    without_size.pop("size")
    for text, want in [
        ("[]", "want an object with exactly the keys artifacts and version"),
        (json.encode({"artifacts": [], "version": 2}), "version is 2, want 1"),
        (json.encode({"artifacts": [], "extra": 1, "version": 1}), "want an object with exactly the keys artifacts and version"),
        (_lock("x"), "artifact 0 (?): want an object"),
        (_lock(_GOOD | {"sha1": "x"}), "artifact 0 (linux-6.1): unknown field sha1"),
        (_lock(without_size), "artifact 0 (linux-6.1): missing field size"),
        (_lock(_GOOD | {"size": "12"}), "artifact 0 (linux-6.1): size is \"12\", want a int"),
        (_lock(_GOOD | {"version": ""}), "artifact 0 (linux-6.1): version is \"\", want a string"),
        (_lock(_GOOD | {"name": "Linux"}), "artifact 0 (Linux): name may have only lower-case letters, digits, . and -"),
        (_lock(_GOOD | {"arch": "amd64"}), "artifact 0 (linux-6.1): arch is amd64, want one of aarch64, x86_64"),
        (_lock(_GOOD | {"kind": "toy"}), "artifact 0 (linux-6.1): kind is toy, want one of base, kernel"),
        (_lock(_GOOD | {"sha256": "abc"}), "artifact 0 (linux-6.1): sha256 is abc, want 64 hexadecimal digits"),
        (_lock(_GOOD | {"path": "pool/../x.deb"}), "artifact 0 (linux-6.1): path is pool/../x.deb, want pool/....deb"),
        (_lock(_GOOD, _GOOD), "artifact 1 (linux-6.1): stands twice for x86_64"),
        (_lock(_GOOD, _GOOD | {"arch": "aarch64"}), "artifact 1 (linux-6.1): want order by name, then arch"),
    ]:
        _, problems = parse_lock(text)
        asserts.equals(env, [want], problems)
    return unittest.end(env)

rejects_test = unittest.make(_rejects_impl)

def lock_test_suite(name):
    unittest.suite(name, accepts_test, rejects_test)
