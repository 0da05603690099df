//go:build tools

package main

// Bazel builds the plugins for the rule in defs.bzl, and names in MODULE.bazel
// the modules that some Go file imports.
import (
	_ "google.golang.org/grpc/cmd/protoc-gen-go-grpc"
	_ "google.golang.org/protobuf/cmd/protoc-gen-go"
)
