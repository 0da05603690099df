package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/agent/internal/clock"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

// earliest is before what any host's clock can show that is set at all.
var earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// SyncClock sets the guest's clock to the host's time if it is off by more than
// the threshold.
func (s *service) SyncClock(_ context.Context, req *guestpb.SyncClockRequest) (*guestpb.SyncClockResponse, error) {
	host, threshold := time.Unix(0, req.GetHostUnixNanos()), time.Duration(req.GetThresholdNanos())
	if host.Before(earliest) {
		return nil, status.Errorf(codes.InvalidArgument, "host's time %v is before %v", host.UTC(), earliest)
	}
	if threshold < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "threshold %v is negative", threshold)
	}
	if threshold == 0 {
		threshold = clock.Threshold
	}
	offset, stepped, err := s.clock.Sync(host, threshold)
	if err != nil {
		return nil, fmt.Errorf("sync clock: %w", err)
	}
	return &guestpb.SyncClockResponse{OffsetNanos: int64(offset), Stepped: stepped}, nil
}
