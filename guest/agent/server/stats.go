package server

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// Stats tells numbers of the guest and of the agent. It has no errors: a number
// that cannot be found is absent, so that the others are told also when /proc
// is missing.
func (s *service) Stats(context.Context, *guestpb.StatsRequest) (*guestpb.StatsResponse, error) {
	stats := &guestpb.StatsResponse{
		ExecsActive:   uint64(s.counters.execsActive.Load()),
		ExecsStarted:  s.counters.execsStarted.Load(),
		ExecsRejected: s.counters.execsRejected.Load(),
		Reseeds:       s.random.Reseeds(),
		ClockSteps:    s.clock.Steps(),
		Processes:     processes(),
		AgentMemory:   agentMemory(),
	}
	if s.options.Refused != nil {
		stats.ConnectionsRejected = s.options.Refused()
	}
	if meminfo, err := os.ReadFile("/proc/meminfo"); err == nil {
		stats.MemoryTotal = memory(meminfo, "MemTotal:")
		stats.MemoryAvailable = memory(meminfo, "MemAvailable:")
	}
	var disk unix.Statfs_t
	if err := unix.Statfs("/", &disk); err == nil {
		stats.DiskTotal = new(disk.Blocks * uint64(disk.Frsize))
		stats.DiskAvailable = new(disk.Bavail * uint64(disk.Frsize))
	}
	var uptime unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &uptime); err == nil {
		stats.UptimeNanos = new(uint64(uptime.Nano()))
	}
	stats.WallClockNanos = new(time.Now().UnixNano())
	return stats, nil
}

// memory is a number of /proc/meminfo (proc(5)) in bytes, nil without it.
func memory(meminfo []byte, name string) *uint64 {
	for line := range bytes.Lines(meminfo) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[0]) != name || string(fields[2]) != "kB" {
			continue
		}
		if kib, err := strconv.ParseUint(string(fields[1]), 10, 54); err == nil {
			return new(kib << 10)
		}
	}
	return nil
}

// processes counts the processes that /proc shows.
func processes() *uint64 {
	pids, err := processIDs()
	if err != nil || len(pids) == 0 {
		return nil
	}
	return new(uint64(len(pids)))
}

// agentMemory is this process's resident memory in bytes.
func agentMemory() *uint64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return nil
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return nil
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 48)
	if err != nil {
		return nil
	}
	return new(pages * uint64(os.Getpagesize()))
}
