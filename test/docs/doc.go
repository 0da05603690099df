// Package docs has the tests of README.md and docs: what they quote is in the
// sources, and what they tell people to type does what they say. They read all
// of the tree and run go, which a Bazel test does not see: `go test ./...` runs
// them.
package docs
