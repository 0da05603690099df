package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadOf(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{3}, spread{Median: 3, Min: 3, Max: 3}},
		{"even", []float64{4, 1, 3, 2}, spread{Median: 2.5, MAD: 1, Min: 1, Max: 4}},
		{"one is far off", []float64{1, 100, 2, 3, 2}, spread{Median: 2, MAD: 1, Min: 1, Max: 100}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, spreadOf(test.values)); diff != "" {
				t.Errorf("spread (-want +got):\n%s", diff)
			}
		})
	}
}

// Ratios are those of rounds, and not the ratio of medians, which would be 1 here.
func TestRatiosAreByRound(t *testing.T) {
	f := &figure{name: "f", reference: "b", levels: []level{
		{contender: "a", against: "b", quantity: duration, atMost: 1},
		{contender: "a", quantity: peak, atMost: 2},
		{contender: "a", quantity: size, atMost: 10, atLeast: true},
		{contender: "b", quantity: duration, atMost: 2},
	}}
	got, err := f.summarize(rows{
		{Name: "a", Unit: "s", Values: []float64{1, 2, 9}, Peak: 3 << 20, Bytes: 10},
		{Name: "b", Unit: "s", Values: []float64{0.5, 4, 2}},
		{Name: "c", Unit: "bytes", Values: []float64{1, 1, 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &measured{Name: "f", Reference: "b",
		Rows: rows{
			{Name: "a", Unit: "s", Values: []float64{1, 2, 9}, Peak: 3 << 20, Bytes: 10,
				spread: spread{Median: 2, MAD: 1, Min: 1, Max: 9}, Ratio: &spread{Median: 2, MAD: 1.5, Min: 0.5, Max: 4.5}},
			{Name: "b", Unit: "s", Values: []float64{0.5, 4, 2}, spread: spread{Median: 2, MAD: 1.5, Min: 0.5, Max: 4}},
			{Name: "c", Unit: "bytes", Values: []float64{1, 1, 1}, spread: spread{Median: 1, Min: 1, Max: 1}}, // no ratio to seconds
		},
		Levels: []verdict{
			{Text: "time of a / b", Bound: 1, Got: spread{Median: 2, MAD: 1.5, Min: 0.5, Max: 4.5}},
			{Text: "peak memory of a, MiB", Bound: 2, Got: spread{Median: 3, Min: 3, Max: 3}},
			{Text: "bytes of a, bytes, at least", Bound: 10, Got: spread{Median: 10, Min: 10, Max: 10}, Met: true},
			{Text: "time of b, s", Bound: 2, Got: spread{Median: 2, MAD: 1.5, Min: 0.5, Max: 4}, Met: true},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("figure (-want +got):\n%s", diff)
	}
}

func TestSummarizeErrors(t *testing.T) {
	table := func() rows {
		return rows{
			{Name: "a", Unit: "s", Values: []float64{1, 2}},
			{Name: "zero", Unit: "s", Values: []float64{1, 0}},
			{Name: "short", Unit: "s", Values: []float64{1}},
		}
	}
	tests := []struct {
		name, want string
		figure     figure
	}{
		{"no reference", `reference "b" was not measured`, figure{reference: "b"}},
		{"nothing to compare with", "compare a with zero: 0 is nothing to compare with", figure{reference: "zero"}},
		{"other rounds", "compare a with short: one has 2 values, the other 1", figure{reference: "short"}},
		{"level of nobody", `level is about "b", which was not measured`, figure{levels: []level{{contender: "b"}}}},
		{"level against nobody", `level is about "b", which was not measured`, figure{levels: []level{{contender: "a", against: "b"}}}},
		{"no peak", "compare a with zero: 0 is nothing to compare with",
			figure{levels: []level{{contender: "a", against: "zero", quantity: peak}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.figure.summarize(table())
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	figure := func(series string, scale int, a, b float64) measured {
		return measured{Series: series, Scale: scale, Rows: rows{
			{Name: "a", spread: spread{Min: a, Median: 100}}, {Name: "b", spread: spread{Min: b, Median: 100}},
		}}
	}
	got := growth([]measured{
		figure("copy", 1, 2, 2), figure("copy", 4, 6, 10), figure("", 0, 1, 1), figure("copy", 16, 32, 32), figure("move", 1, 1, 1),
	})
	want := []grown{
		{Series: "copy", Contender: "a", Scales: []int{1, 4, 16}, Relative: []float64{1, 0.75, 1}, Met: true},
		{Series: "copy", Contender: "b", Scales: []int{1, 4, 16}, Relative: []float64{1, 1.25, 1}},
		{Series: "move", Contender: "a", Scales: []int{1}, Relative: []float64{1}, Met: true},
		{Series: "move", Contender: "b", Scales: []int{1}, Relative: []float64{1}, Met: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("growth (-want +got):\n%s", diff)
	}
}
