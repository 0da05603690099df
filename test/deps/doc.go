// Package deps has the test of who may import whom. `go test ./...` runs it: it
// reads all of the tree, which a Bazel test does not see.
package deps
