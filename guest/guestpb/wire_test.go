package guestpb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// wire is the hypeman agent protocol 0.0.7 as it is on the wire, two methods of
// its later versions, and from number 100 on what Kindling adds. Lines and
// fields may only be added.
const wire = `
rpc /guest.GuestService/Exec(stream ExecRequest) stream ExecResponse
rpc /guest.GuestService/CopyToGuest(stream CopyToGuestRequest) CopyToGuestResponse
rpc /guest.GuestService/CopyFromGuest(CopyFromGuestRequest) stream CopyFromGuestResponse
rpc /guest.GuestService/StatPath(StatPathRequest) StatPathResponse
rpc /guest.GuestService/Shutdown(ShutdownRequest) ShutdownResponse
rpc /guest.GuestService/ReconfigureNetwork(ReconfigureNetworkRequest) ReconfigureNetworkResponse
rpc /guest.GuestService/RebindIdentity(RebindIdentityRequest) RebindIdentityResponse
ExecRequest: 1 request.start ExecStart, 2 request.stdin bytes, 3 request.resize WindowSize
ExecStart: 1 command repeated string, 2 tty bool, 3 env map string string, 4 cwd string, 5 timeout_seconds int32, 6 rows uint32, 7 cols uint32, 100 user string, 101 _umask.umask uint32, 102 rlimits repeated ResourceLimit, 103 exec_id string
ResourceLimit: 1 resource uint32, 2 soft uint64, 3 hard uint64
WindowSize: 1 rows uint32, 2 cols uint32
ExecResponse: 1 response.stdout bytes, 2 response.stderr bytes, 3 response.exit_code int32, 100 signal int32, 101 timed_out bool
CopyToGuestRequest: 1 request.start CopyToGuestStart, 2 request.data bytes, 3 request.end CopyToGuestEnd
CopyToGuestStart: 1 path string, 2 mode uint32, 3 is_dir bool, 4 size int64, 5 mtime int64, 6 uid uint32, 7 gid uint32, 100 set_owner bool
CopyToGuestEnd:
CopyToGuestResponse: 1 success bool, 2 error string, 3 bytes_written int64
CopyFromGuestRequest: 1 path string, 2 follow_links bool
CopyFromGuestResponse: 1 response.header CopyFromGuestHeader, 2 response.data bytes, 3 response.end CopyFromGuestEnd, 4 response.error CopyFromGuestError
CopyFromGuestHeader: 1 path string, 2 mode uint32, 3 is_dir bool, 4 is_symlink bool, 5 link_target string, 6 size int64, 7 mtime int64, 8 uid uint32, 9 gid uint32, 100 unix_mode uint32
CopyFromGuestEnd: 1 final bool
CopyFromGuestError: 1 message string, 2 path string
StatPathRequest: 1 path string, 2 follow_links bool
StatPathResponse: 1 exists bool, 2 is_dir bool, 3 is_file bool, 4 is_symlink bool, 5 link_target string, 6 mode uint32, 7 size int64, 8 error string, 100 unix_mode uint32, 101 mtime int64, 102 mtime_nanos uint32, 103 uid uint32, 104 gid uint32, 105 inode uint64, 106 links uint64
ShutdownRequest: 1 signal int32, 100 grace_seconds uint32, 101 reason string
ShutdownResponse:
ReconfigureNetworkRequest: 1 interface_name string, 2 mac string, 3 ipv4 string, 4 prefix uint32, 5 gateway string, 6 dns_servers repeated string
ReconfigureNetworkResponse:
RebindIdentityRequest: 1 instance_id string
RebindIdentityResponse: 1 machine_id string
`

func TestWire(t *testing.T) {
	file := guestpb.File_guest_guestpb_guest_proto
	var b strings.Builder
	b.WriteString("\n")
	services := file.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			fmt.Fprintf(&b, "rpc /%s/%s(%s) %s\n", services.Get(i).FullName(), m.Name(),
				streamOf(m.IsStreamingClient(), m.Input()), streamOf(m.IsStreamingServer(), m.Output()))
		}
	}
	messages := file.Messages()
	for i := range messages.Len() {
		fmt.Fprintf(&b, "%s:", messages.Get(i).Name())
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if j > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, " %s", describe(fields.Get(j)))
		}
		b.WriteString("\n")
	}
	if diff := cmp.Diff(strings.Split(wire, "\n"), strings.Split(b.String(), "\n")); diff != "" {
		t.Errorf("protocol (-want +got):\n%s", diff)
	}
}

func streamOf(stream bool, message protoreflect.MessageDescriptor) string {
	if stream {
		return "stream " + string(message.Name())
	}
	return string(message.Name())
}

func describe(field protoreflect.FieldDescriptor) string {
	name := string(field.Name())
	if oneof := field.ContainingOneof(); oneof != nil {
		name = string(oneof.Name()) + "." + name
	}
	kind := field.Kind().String()
	if field.Message() != nil {
		kind = string(field.Message().Name())
	}
	switch {
	case field.IsMap():
		kind = fmt.Sprintf("map %v %v", field.MapKey().Kind(), field.MapValue().Kind())
	case field.IsList():
		kind = "repeated " + kind
	}
	return fmt.Sprintf("%d %s %s", field.Number(), name, kind)
}
