//go:build tools

// Package nogo names the static checks of all Go code, which `bazel test` runs.
// Bazel names in MODULE.bazel the modules that some Go file imports.
package nogo

import _ "honnef.co/go/tools/staticcheck"
