package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// compile compiles definitions, named by their path below root.
func compile(ctx context.Context, root string, protos []string) (linker.Files, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // plugins copy the comments
	}
	files, err := compiler.Compile(ctx, protos...)
	if err != nil {
		return nil, fmt.Errorf("compile definitions: %w", err)
	}
	return files, nil
}

// request is what plugins read. It has no compiler version, since that of
// protoc has no meaning here; plugins write "(unknown)" in their comments.
func request(o *options, files linker.Files) *pluginpb.CodeGeneratorRequest {
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: o.protos,
		Parameter:      proto.String(strings.Join(o.params, ",")),
	}
	seen := map[string]bool{}
	for _, file := range files {
		req.ProtoFile = appendFile(req.ProtoFile, seen, file)
	}
	return req
}

// appendFile appends a file behind the files that it imports, which is the order
// that plugins expect.
func appendFile(list []*descriptorpb.FileDescriptorProto, seen map[string]bool, file protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	if seen[file.Path()] {
		return list
	}
	seen[file.Path()] = true
	imports := file.Imports()
	for i := range imports.Len() {
		list = appendFile(list, seen, imports.Get(i).FileDescriptor)
	}
	return append(list, protoutil.ProtoFromFileDescriptor(file))
}

// output is one generated file.
type output struct {
	name    string // below the output directory
	content string
}

// generate runs one plugin, a program that reads a CodeGeneratorRequest and
// writes a CodeGeneratorResponse. Source: google/protobuf/compiler/plugin.proto.
func generate(ctx context.Context, plugin string, req *pluginpb.CodeGeneratorRequest, stderr io.Writer) ([]output, error) {
	input, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	path, err := filepath.Abs(plugin) // a bare name would be looked up in $PATH
	if err != nil {
		return nil, err
	}
	var answer bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &answer, stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	var resp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(answer.Bytes(), &resp); err != nil {
		return nil, fmt.Errorf("decode response: %w", err)
	}
	if resp.Error != nil {
		return nil, errors.New(resp.GetError())
	}
	var outputs []output
	for _, file := range resp.File {
		name := filepath.FromSlash(file.GetName())
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("output %q: not below the output directory", file.GetName())
		}
		if file.GetInsertionPoint() != "" {
			return nil, fmt.Errorf("output %q: insertion points are not supported", file.GetName())
		}
		outputs = append(outputs, output{name: filepath.Clean(name), content: file.GetContent()})
	}
	return outputs, nil
}
