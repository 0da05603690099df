"""Generates Go from protocol buffers."""

def _go_from_proto_impl(ctx):
    outs = [ctx.outputs.messages, ctx.outputs.service]
    args = ctx.actions.args()
    args.add_all(ctx.files._plugins, before_each = "--plugin")
    args.add("--opt", "module=" + ctx.attr.importpath)
    args.add("--out", outs[0].dirname)
    args.add(ctx.file.src)
    ctx.actions.run(
        executable = ctx.executable._protogen,
        arguments = [args],
        inputs = [ctx.file.src],
        tools = ctx.files._plugins,
        outputs = outs,
        mnemonic = "ProtoGen",
        progress_message = "Generating %{label}",
    )
    return [DefaultInfo(files = depset(outs))]

go_from_proto = rule(
    _go_from_proto_impl,
    doc = "The Go code of a proto file's messages and service.",
    attrs = {
        "importpath": attr.string(mandatory = True, doc = "Go import path of the generated package."),
        "messages": attr.output(mandatory = True, doc = "NAME.pb.go of NAME.proto, in any folder."),
        "service": attr.output(mandatory = True, doc = "NAME_grpc.pb.go, in the same folder."),
        "src": attr.label(mandatory = True, allow_single_file = [".proto"]),
        "_plugins": attr.label_list(
            default = [
                "@org_golang_google_grpc_cmd_protoc_gen_go_grpc//:protoc-gen-go-grpc",
                "@org_golang_google_protobuf//cmd/protoc-gen-go",
            ],
            cfg = "exec",
        ),
        "_protogen": attr.label(default = "//tools/protogen", executable = True, cfg = "exec"),
    },
)
