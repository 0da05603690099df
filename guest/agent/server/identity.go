package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/agent/internal/identity"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// RebindIdentity gives the guest the machine ID that an instance's ID makes.
func (s *service) RebindIdentity(
	_ context.Context, req *guestpb.RebindIdentityRequest,
) (*guestpb.RebindIdentityResponse, error) {
	if req.GetInstanceId() == "" {
		return nil, status.Error(codes.InvalidArgument, "instance ID is empty")
	}
	id := identity.Derive(req.GetInstanceId())
	if err := s.machineID.Write(id); err != nil {
		return nil, fmt.Errorf("rebind identity: %w", err)
	}
	return &guestpb.RebindIdentityResponse{MachineId: id}, nil
}
