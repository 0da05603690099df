"""Files that are made by the build and committed all the same."""

load("@bazel_skylib//rules:diff_test.bzl", "diff_test")

def committed_test(name, committed, generated):
    """Compares a committed file with what the build makes of its sources.

    tools/tidy/BUILD.bazel lists the file too, for //:tidy to copy.

    Args:
        name: of the test.
        committed: label of the file in the tree.
        generated: label of the file that the build makes.
    """
    diff_test(
        name = name,
        failure_message = "The committed file is out of date. Run: tools/bazel run //:tidy",
        file1 = committed,
        file2 = generated,
    )
    native.alias(
        name = name + ".generated",
        actual = generated,
        visibility = ["//tools/tidy:__pkg__"],
    )
