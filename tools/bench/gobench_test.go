package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseBenchmarks(t *testing.T) {
	tests := []struct {
		name, output, err string
		want              []sample
	}{
		{name: "metrics of parts", output: "goos: linux\n" +
			"BenchmarkFirst/256MiB-2 \t       1\t         2.500 floor_initrd-s\t         1.25 ratio\nPASS\n",
			want: []sample{{"256MiB floor_initrd", "s", 2.5}, {"256MiB ratio", "ratio", 1.25}}},
		{name: "units", output: "BenchmarkAgent-2 1 100 ns/op 5.5 exec-1-p50-ms 300 raw-in-MB/s 0.5 stdin/raw 700 console-bytes 0.1 no-headers/usual\n",
			want: []sample{{"exec-1-p50", "ms", 5.5}, {"raw-in", "MB/s", 300}, {"stdin/raw", "ratio", 0.5}, {"console", "bytes", 700}, {"no-headers/usual", "ratio", 0.1}}},
		{name: "log lines", output: "BenchmarkAgent\n    x_test.go:1: mount 1 ms\nBenchmarkAgent 1 2 a-ms\n", want: []sample{{"a", "ms", 2}}},
		{name: "nothing", output: "PASS\n", err: "read benchmark: it printed no result:\nPASS\n"},
		{name: "odd", output: "BenchmarkX-2 1 2 a-ms 3\n", err: "read benchmark: a value has no unit in \"BenchmarkX-2 1 2 a-ms 3\\n\""},
		{name: "no number", output: "BenchmarkX-2 1 x a-ms\n", err: `read benchmark: strconv.ParseFloat: parsing "x": invalid syntax`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseBenchmarks([]byte(test.output))
			if text := errorText(err); text != test.err {
				t.Fatalf("error %q, want %q", text, test.err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(sample{})); diff != "" {
				t.Errorf("samples (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddDifference(t *testing.T) {
	got, err := addDifference([]sample{{"a", "ms", 5}, {"b", "ms", 3}}, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]sample{{"a", "ms", 5}, {"b", "ms", 3}, {"a - b", "ms", 2}}, got, cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if _, err := addDifference([]sample{{"a", "ms", 5}, {"b", "s", 3}}, "a", "b"); err == nil {
		t.Error("no error for other units")
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
