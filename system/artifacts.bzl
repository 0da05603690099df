"""Declares targets for what the lock has."""

load("@artifacts//:index.bzl", "ARCHES", "BASES", "KERNELS", "PROFILES")
load("@bazel_skylib//rules:common_settings.bzl", "string_flag")
load("//platforms:arch.bzl", "for_arch")
load("//tools/kernelprep:defs.bzl", "kernel")
load("//tools/mkbase:defs.bzl", "busybox_layer", "pinned_layer")
load("//tools/mkheaders:defs.bzl", "kernel_headers")

def _tags(artifact):
    # What cannot be built is left out of //...
    return [] if artifact["is_pinned"] else ["manual"]

def locked_artifacts(visibility):
    """A target for each kernel and base of the lock, and those of the profile.

    They are for the architecture that is built for; KERNEL_ARCH is for ARCH.
    `base`, `headers` and `kernel` are those of the profile that
    --//system:profile names; KERNEL_headers are a kernel's.

    Args:
        visibility: of all.
    """
    string_flag(
        name = "profile",
        build_setting_default = "debian",
        values = PROFILES.keys(),
    )
    for profile in PROFILES:
        native.config_setting(
            name = "profile_" + profile,
            flag_values = {":profile": profile},
        )
    for kind in ["base", "kernel"]:
        native.alias(
            name = kind,
            actual = select({":profile_" + profile: choice[kind] for profile, choice in PROFILES.items()}),
            tags = ["manual"],
            visibility = visibility,
        )
    native.alias(
        name = "headers",
        actual = select({":profile_" + profile: choice["kernel"] + "_headers" for profile, choice in PROFILES.items()}),
        tags = ["manual"],
        visibility = visibility,
    )
    for name, artifact in KERNELS.items():
        kernel(
            name = name,
            file = "@artifacts//:" + name,
            tags = _tags(artifact),
            visibility = visibility,
        )
        native.filegroup(
            name = name + "_modules",
            srcs = [name],
            output_group = "modules",
            tags = _tags(artifact),
            visibility = visibility,
        )
        kernel_headers(
            name = name + "_headers",
            kernel = name,
            parts = ["@artifacts//:" + part for part in artifact["headers"]],
            tags = _tags(artifact),
            visibility = visibility,
        )
        for arch in ARCHES:
            for_arch(
                name = "{}_{}".format(name, arch),
                actual = name,
                arch = arch,
                tags = _tags(artifact),
                visibility = visibility,
            )
    for name, artifact in BASES.items():
        if artifact["is_deb"]:
            busybox_layer(
                name = name,
                package = "@artifacts//:" + name,
                tags = _tags(artifact),
                visibility = visibility,
            )
        else:
            pinned_layer(
                name = name,
                file = "@artifacts//:" + name,
                tags = ["manual"],
                visibility = visibility,
            )
