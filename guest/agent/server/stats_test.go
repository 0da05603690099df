package server

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/kindling-vm/kindling/guest/agent/internal/clock"
	"github.com/kindling-vm/kindling/guest/agent/internal/random"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

func TestStats(t *testing.T) {
	wrong := clock.New(func() time.Time { return time.Unix(0, 0) }, func(time.Time) error { return nil })
	s := newService(Options{Refused: func() uint64 { return 7 }, Clock: wrong})
	s.random = &random.Generator{Root: t.TempDir(), Device: os.DevNull, Ioctl: func(uintptr, uint, []byte) error { return nil }}
	for range 3 {
		if err := s.random.Reseed(make([]byte, random.MinSeed)); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		if _, _, err := wrong.Sync(time.Now(), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Stats(t.Context(), &guestpb.StatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetConnectionsRejected() != 7 || got.GetReseeds() != 3 || got.GetClockSteps() != 4 {
		t.Errorf("counters: got %v", got)
	}
	const mib = 1 << 20
	tests := []struct {
		name     string
		got      *uint64
		low, top uint64
	}{
		{"memory_total", got.MemoryTotal, 64 * mib, 1 << 50},
		{"memory_available", got.MemoryAvailable, mib, got.GetMemoryTotal()},
		{"disk_total", got.DiskTotal, mib, 1 << 60},
		{"disk_available", got.DiskAvailable, 0, got.GetDiskTotal()},
		{"processes", got.Processes, 1, 1 << 22},
		{"uptime_nanos", got.UptimeNanos, 1e9, 1 << 62},
		{"agent_memory", got.AgentMemory, mib, 1 << 40},
	}
	for _, test := range tests {
		if test.got == nil || *test.got < test.low || *test.got > test.top {
			t.Errorf("%s: got %v, want %d to %d", test.name, test.got, test.low, test.top)
		}
	}
	if wall := time.Unix(0, got.GetWallClockNanos()); time.Since(wall).Abs() > time.Minute {
		t.Errorf("wall clock: got %v", wall)
	}
}

func TestMemory(t *testing.T) {
	tests := []struct {
		meminfo string
		want    uint64
		absent  bool
	}{
		{"MemTotal:    2 kB\nMemFree: 1 kB\n", 2048, false},
		{"MemFree: 1 kB\nMemTotal: 18014398509481983 kB", 18014398509481983 << 10, false},
		{"MemTotal: 18014398509481984 kB\n", 0, true}, // more than 2^64 bytes
		{"MemTotal: -1 kB\n", 0, true},
		{"MemTotal: 2 MB\n", 0, true},
		{"MemTotal:\n", 0, true},
		{"", 0, true},
	}
	for _, test := range tests {
		got := memory([]byte(test.meminfo), "MemTotal:")
		if (got == nil) != test.absent || got != nil && *got != test.want {
			t.Errorf("memory(%q) = %v, want %d, absent %v", test.meminfo, got, test.want, test.absent)
		}
	}
}

func TestProcessIDs(t *testing.T) {
	pids, err := processIDs()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(pids, os.Getpid()) {
		t.Errorf("processes %v are without this one", pids)
	}
}
