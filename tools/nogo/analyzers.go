//go:build tools

// Package nogo names the static checks that every compilation runs. Bazel names
// in MODULE.bazel the modules that some Go file imports.
package nogo

import _ "honnef.co/go/tools/staticcheck"
