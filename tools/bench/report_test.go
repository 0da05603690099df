package main

import (
	"bytes"
	"os"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func exampleReport() *report {
	return &report{
		Command: "bench x", Machine: "a machine", Rounds: 3,
		Suites: []suite{{
			Name: "x",
			Figures: []measured{{
				Name: "copy <1 MB>", Reference: "cp", Series: "copy", Scale: 1,
				Rows: rows{
					{Name: "ours", Unit: "s", CPU: 0.0234, Peak: 12 << 20, Bytes: 1000, spread: spread{Median: 0.0123456, MAD: 0.001, Min: 0.01, Max: 0.02},
						Ratio: &spread{Median: 0.5, MAD: 0.1, Min: 0.4, Max: 0.6}},
					{Name: "cp", Unit: "s", spread: spread{Median: 0.025, Min: 0.025, Max: 0.025}},
					{Name: "cp moves", Unit: "MB/s", spread: spread{Median: 1234.5, Min: 1200, Max: 1300}},
				},
				Levels: []verdict{{Text: "time of ours / cp", Bound: 0.6, Got: spread{Median: 0.5, Min: 0.4, Max: 0.6}, Met: true}},
			}},
			Growth: []grown{{Series: "copy", Contender: "ours", Scales: []int{1, 4}, Relative: []float64{1, 1.5}}},
		}},
	}
}

func TestMarkdown(t *testing.T) {
	const want = `    bench x

a machine. Medians of 3 rounds.

## x

**copy <1 MB>**

| | unit | median | MAD | min..max | CPU s | peak MiB | output bytes | ratio to cp |
|---|---|---|---|---|---|---|---|---|
| ours | s | 0.0123 | 0.00100 | 0.0100..0.0200 | 0.023 | 12 | 1000 | 0.500 [0.400..0.600] |
| cp | s | 0.0250 | 0 | 0.0250..0.0250 |  |  |  |  |
| cp moves | MB/s | 1234 | 0 | 1200..1300 |  |  |  |  |

| level | bound | got | met |
|---|---|---|---|
| copy <1 MB>: time of ours / cp | 0.600 | 0.500 [0.400..0.600] | yes |

| growth | input | time for the same amount | within 15 % of linear |
|---|---|---|---|
| copy, ours | 1x 4x | 1.00 1.50 | no |
`
	var got bytes.Buffer
	if err := exampleReport().markdown(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestChart compares with a chart that was looked at.
func TestChart(t *testing.T) {
	want, err := os.ReadFile("testdata/chart.svg")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(chart(chartGroups(exampleReport())))); diff != "" {
		t.Errorf("chart (-want +got):\n%s", diff)
	}
}

func TestMachine(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	root := fstest.MapFS{
		"proc/cpuinfo": file("processor\t: 0\nmodel name\t: Fast  CPU\nflags\t\t: a b\n\nprocessor\t: 1\nmodel name\t: Fast  CPU\n"),
		"proc/meminfo": file("MemTotal:       25165824 kB\nMemFree: 1 kB\n"),
		"proc/loadavg": file("0.50 1.00 2.25 1/100 4242\n"),

		"proc/sys/kernel/osrelease": file("6.12.1\n"),
	}
	got, err := machine(root)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Fast  CPU, 2 cores, 24.0 GiB, Linux 6.12.1, load 0.50 (1 min) 2.25 (15 min)"; got != want {
		t.Errorf("machine is %q, want %q", got, want)
	}
	root["proc/loadavg"] = file("\n")
	if _, err := machine(root); err == nil {
		t.Error("no error for a load without numbers")
	}
}
