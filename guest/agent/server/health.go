package server

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health is the gRPC health service of a server that serves as soon as it is
// reached. That of gRPC's own package keeps track of changes, for a tenth of a
// megabyte.
type health struct {
	healthpb.UnimplementedHealthServer
	services map[string]grpc.ServiceInfo
}

var serving = &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}

// knows tells whether a name is that of a service, or empty for the server.
func (h *health) knows(name string) bool {
	_, found := h.services[name]
	return found || name == ""
}

func (h *health) Check(_ context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if !h.knows(req.GetService()) {
		return nil, status.Errorf(codes.NotFound, "service %q is not known", clip(req.GetService()))
	}
	return serving, nil
}

// Watch sends one status, and as the protocol wants waits for others.
func (h *health) Watch(req *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	answer := serving
	if !h.knows(req.GetService()) {
		answer = &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN}
	}
	if err := stream.Send(answer); err != nil {
		return err
	}
	<-stream.Context().Done()
	return status.FromContextError(stream.Context().Err()).Err()
}
