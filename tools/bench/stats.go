package main

import (
	"fmt"
	"slices"
)

// spread sums up the values of several rounds.
type spread struct {
	Median float64 `json:"median"`
	MAD    float64 `json:"mad"` // median of the distances from the median
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf sums up one value or more.
func spreadOf(values []float64) spread {
	middle := median(values)
	distances := make([]float64, len(values))
	for i, value := range values {
		distances[i] = max(value-middle, middle-value)
	}
	return spread{Median: middle, MAD: median(distances), Min: slices.Min(values), Max: slices.Max(values)}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// row is one contender's measurements, or one metric of a benchmark that
// measures itself.
type row struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"` // one of each round
	spread
	CPU   float64 `json:"cpuSeconds,omitempty"`  // the least of all rounds
	Peak  int64   `json:"peakBytes,omitempty"`   // the largest of all rounds
	Bytes int64   `json:"outputBytes,omitempty"` // of the last round
	Ratio *spread `json:"ratio,omitempty"`       // to the reference, round by round
}

// rows are in the order in which their names came first.
type rows []*row

func (r *rows) add(samples []sample, usage *row) {
	for _, s := range samples {
		known := r.find(s.name)
		if known == nil {
			known = &row{Name: s.name, Unit: s.unit, CPU: usage.CPU}
			*r = append(*r, known)
		}
		known.Values = append(known.Values, s.value)
		known.CPU = min(known.CPU, usage.CPU)
		known.Peak = max(known.Peak, usage.Peak)
		known.Bytes = usage.Bytes
	}
}

func (r rows) find(name string) *row {
	for _, row := range r {
		if row.Name == name {
			return row
		}
	}
	return nil
}

// quantity is what a level is about.
type quantity string

const (
	duration quantity = "time"        // in the unit of the contender's row, and ratios of times
	value    quantity = "value"       // of another unit
	peak     quantity = "peak memory" // bytes
	size     quantity = "bytes"
)

// level is a bound on a contender, against another or by itself.
type level struct {
	contender, against string // against "" is a bound of the quantity itself
	quantity           quantity
	atMost             float64
	atLeast            bool // the bound is one from below
}

// verdict is what became of a level.
type verdict struct {
	Text  string  `json:"level"`
	Bound float64 `json:"bound"`
	Got   spread  `json:"got"`
	Met   bool    `json:"met"`
}

// measured is a figure with its values.
type measured struct {
	Name      string    `json:"name"`
	Reference string    `json:"reference,omitempty"`
	Rows      rows      `json:"rows"`
	Levels    []verdict `json:"levels,omitempty"`
	Series    string    `json:"series,omitempty"`
	Scale     int       `json:"scale,omitempty"`
}

func (f *figure) summarize(table rows) (*measured, error) {
	m := &measured{Name: f.name, Reference: f.reference, Rows: table, Series: f.series, Scale: f.scale}
	reference := table.find(f.reference)
	if reference == nil && f.reference != "" {
		return nil, fmt.Errorf("reference %q was not measured", f.reference)
	}
	for _, row := range table {
		row.spread = spreadOf(row.Values)
		if reference == nil || row == reference || row.Unit != reference.Unit {
			continue
		}
		ratios, err := ratiosOf(row.Values, reference.Values)
		if err != nil {
			return nil, fmt.Errorf("compare %s with %s: %w", row.Name, reference.Name, err)
		}
		ratio := spreadOf(ratios)
		row.Ratio = &ratio
	}
	for _, l := range f.levels {
		v, err := l.judge(table)
		if err != nil {
			return nil, err
		}
		m.Levels = append(m.Levels, v)
	}
	return m, nil
}

func ratiosOf(values, reference []float64) ([]float64, error) {
	if len(values) != len(reference) {
		return nil, fmt.Errorf("one has %d values, the other %d", len(values), len(reference))
	}
	ratios := make([]float64, len(values))
	for i, value := range values {
		if reference[i] <= 0 {
			return nil, fmt.Errorf("%g is nothing to compare with", reference[i])
		}
		ratios[i] = value / reference[i]
	}
	return ratios, nil
}

func (l *level) judge(table rows) (verdict, error) {
	values, unit, err := table.values(l.contender, l.quantity)
	if err != nil {
		return verdict{}, err
	}
	text := fmt.Sprintf("%s of %s, %s", l.quantity, l.contender, unit)
	if l.against != "" {
		others, _, err := table.values(l.against, l.quantity)
		if err != nil {
			return verdict{}, err
		}
		if values, err = ratiosOf(values, others); err != nil {
			return verdict{}, fmt.Errorf("compare %s with %s: %w", l.contender, l.against, err)
		}
		text = fmt.Sprintf("%s of %s / %s", l.quantity, l.contender, l.against)
	}
	got := spreadOf(values)
	met := got.Median <= l.atMost
	if l.atLeast {
		met = got.Median >= l.atMost
		text += ", at least"
	}
	return verdict{Text: text, Bound: l.atMost, Got: got, Met: met}, nil
}

// values gives what a level is about, and its unit.
func (r rows) values(name string, q quantity) ([]float64, string, error) {
	row := r.find(name)
	switch {
	case row == nil:
		return nil, "", fmt.Errorf("level is about %q, which was not measured", name)
	case q == peak:
		return []float64{float64(row.Peak) / (1 << 20)}, "MiB", nil
	case q == size:
		return []float64{float64(row.Bytes)}, "bytes", nil
	default:
		return row.Values, row.Unit, nil
	}
}

// grown is how the time of one contender grows with its input.
type grown struct {
	Series    string    `json:"series"`
	Contender string    `json:"contender"`
	Scales    []int     `json:"scales"`
	Relative  []float64 `json:"relative"` // time for the same amount of input, relative to the first scale
	Met       bool      `json:"met"`      // none is above linear by more than 15 %
}

const tolerance = 1.15

// growth compares the figures of a series, contender by contender. It takes the
// fastest of each: what else runs on the machine only adds to that.
func growth(figures []measured) []grown {
	var all []grown
	index := map[[2]string]int{}
	first := map[[2]string]float64{}
	for _, f := range figures {
		if f.Series == "" {
			continue
		}
		for _, row := range f.Rows {
			key := [2]string{f.Series, row.Name}
			cost := row.Min / float64(f.Scale)
			i, known := index[key]
			if !known {
				i = len(all)
				index[key], first[key] = i, cost
				all = append(all, grown{Series: f.Series, Contender: row.Name, Met: true})
			}
			g := &all[i]
			g.Scales = append(g.Scales, f.Scale)
			g.Relative = append(g.Relative, cost/first[key])
			g.Met = g.Met && cost/first[key] <= tolerance
		}
	}
	return all
}
