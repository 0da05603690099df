package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bazelbuild/rules_go/go/runfiles"
)

// bootSuite boots machines with the benchmarks of test/boot, which compare with
// a floor in the same run.
func bootSuite(_ context.Context, b *bench) ([]figure, error) {
	first, err := b.goBenchmark("BenchmarkFirstOutput", "")
	if err != nil {
		return nil, err
	}
	application, err := b.goBenchmark("BenchmarkTimeToApplication", "floor")
	if err != nil {
		return nil, err
	}
	memory, err := b.goBenchmark("BenchmarkMemoryKept", "")
	if err != nil {
		return nil, err
	}
	memory.levels = []level{{contender: "initrd kept/unpacked", quantity: duration, atMost: 0.05}}
	application.levels = []level{
		{contender: "headers - no-headers", quantity: duration, atMost: 20},
		{contender: "headers/usual", quantity: duration, atMost: 1.0 / 40},
		{contender: "no-headers/usual", quantity: duration, atMost: 1.0 / 5},
		{contender: "console", quantity: value, atMost: 2 << 10},
	}
	application.collect = func(output []byte) ([]sample, error) {
		samples, err := parseBenchmarks(output)
		if err != nil {
			return nil, err
		}
		return addDifference(samples, "headers", "no-headers")
	}
	return []figure{first, application, memory}, nil
}

// agentSuite measures the agent with the benchmark of test/boot, which moves
// bytes through the same device without it.
func agentSuite(_ context.Context, b *bench) ([]figure, error) {
	f, err := b.goBenchmark("BenchmarkAgent", "")
	if err != nil {
		return nil, err
	}
	f.levels = []level{
		{contender: "stdout/raw", quantity: duration, atMost: 0.7, atLeast: true},
		{contender: "stdin/raw", quantity: duration, atMost: 0.7, atLeast: true},
		{contender: "copy-in/raw", quantity: duration, atMost: 0.7, atLeast: true},
		{contender: "copy-out/raw", quantity: duration, atMost: 0.7, atLeast: true},
		{contender: "exec/raw", quantity: duration, atMost: 2},
	}
	return []figure{f}, nil
}

// goBenchmark is the figure of a Go benchmark of test/boot, which needs what
// Bazel builds. A round is one run of it.
func (b *bench) goBenchmark(name, reference string) (figure, error) {
	c := contender{name: name}
	command := []string{"tools/bazel", "run", "//test/boot:boot_test", "--"}
	if program, err := runfile("test/boot/boot_test_/boot_test"); err == nil {
		env, err := runfiles.Env()
		if err != nil {
			return figure{}, fmt.Errorf("find runfiles: %w", err)
		}
		c.env = append(env, "TEST_TMPDIR="+b.dir) // as Bazel gives a test
		command = []string{program}
	}
	c.commands = [][]string{append(command, "-test.run=^$", "-test.bench=^"+name+"$", "-test.benchtime=1x")}
	return figure{name: name, reference: reference, collect: parseBenchmarks, contenders: []contender{c}}, nil
}

// parseBenchmarks reads what go test prints of benchmarks
// (https://go.dev/design/14313-benchmark-format): a line has a name, the number
// of iterations, and pairs of value and unit. The units of ours start with what
// was measured: exec-p50-ms.
func parseBenchmarks(output []byte) ([]sample, error) {
	var samples []sample
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if len(fields)%2 != 0 {
			return nil, fmt.Errorf("read benchmark: a value has no unit in %q", line)
		}
		_, part, _ := strings.Cut(fields[0], "/")
		if i := strings.LastIndexByte(part, '-'); i >= 0 {
			part = part[:i] // GOMAXPROCS
		}
		for pair := range slices.Chunk(fields[2:], 2) {
			value, err := strconv.ParseFloat(pair[0], 64)
			if err != nil {
				return nil, fmt.Errorf("read benchmark: %w", err)
			}
			name, unit := splitUnit(pair[1])
			if unit == "op" {
				continue // of a loop that does more than one thing
			}
			samples = append(samples, sample{strings.TrimSpace(part + " " + name), unit, value})
		}
	}
	if len(samples) == 0 {
		return nil, fmt.Errorf("read benchmark: it printed no result:\n%s", tail(output))
	}
	return samples, nil
}

// addDifference adds how much larger a sample is than another one.
func addDifference(samples []sample, larger, smaller string) ([]sample, error) {
	values := map[string]sample{}
	for _, s := range samples {
		values[s.name] = s
	}
	a, knownA := values[larger]
	b, knownB := values[smaller]
	if !knownA || !knownB || a.unit != b.unit {
		return nil, fmt.Errorf("read benchmark: %s and %s cannot be compared", larger, smaller)
	}
	return append(samples, sample{larger + " - " + smaller, a.unit, a.value - b.value}), nil
}

func splitUnit(metric string) (name, unit string) {
	if strings.HasSuffix(metric, "/op") {
		return metric, "op"
	}
	if i := strings.LastIndexByte(metric, '-'); i >= 0 && slices.Contains([]string{"s", "ms", "MB/s", "bytes"}, metric[i+1:]) {
		return metric[:i], metric[i+1:]
	}
	return metric, "ratio"
}
