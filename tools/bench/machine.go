package main

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// machine describes the machine in one line, from its /proc: model and number of
// processors, memory, kernel, and the load before the run, over one and fifteen
// minutes.
func machine(root fs.FS) (string, error) {
	cpus, err := fs.ReadFile(root, "proc/cpuinfo")
	if err != nil {
		return "", err
	}
	var model string
	cores := 0
	for line := range strings.Lines(string(cpus)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "processor":
			cores++
		case "model name":
			model = strings.TrimSpace(value)
		}
	}
	if model == "" {
		model = "processor without a name" // arm64 kernels give none
	}
	memory, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return "", err
	}
	var kib int64
	if fields := strings.Fields(string(memory)); len(fields) > 1 && fields[0] == "MemTotal:" {
		if kib, err = strconv.ParseInt(fields[1], 10, 64); err != nil {
			return "", fmt.Errorf("read meminfo: %w", err)
		}
	}
	release, err := fs.ReadFile(root, "proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	load, err := fs.ReadFile(root, "proc/loadavg")
	if err != nil {
		return "", err
	}
	loads := strings.Fields(string(load))
	if len(loads) < 3 {
		return "", fmt.Errorf("read loadavg: got %q", load)
	}
	return fmt.Sprintf("%s, %d cores, %.1f GiB, Linux %s, load %s (1 min) %s (15 min)",
		model, cores, float64(kib)/(1<<20), strings.TrimSpace(string(release)), loads[0], loads[2]), nil
}
