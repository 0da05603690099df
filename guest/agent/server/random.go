package server

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/agent/internal/random"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// ReseedRandom mixes a seed into the kernel's random number generator and makes
// it use it at once. It does not keep the seed; what the connection read it into
// is reused and not cleared.
func (s *service) ReseedRandom(_ context.Context, req *guestpb.ReseedRandomRequest) (*guestpb.ReseedRandomResponse, error) {
	defer clear(req.GetSeed())
	if len(req.GetSeed()) < random.MinSeed {
		return nil, status.Errorf(codes.InvalidArgument, "seed has %d bytes, want at least %d", len(req.GetSeed()), random.MinSeed)
	}
	if err := s.random.Reseed(req.GetSeed()); err != nil {
		return nil, fmt.Errorf("reseed random: %w", err)
	}
	return &guestpb.ReseedRandomResponse{}, nil
}
