package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
)

// report is the result of a run.
type report struct {
	Command string  `json:"command"`
	Machine string  `json:"machine"`
	Rounds  int     `json:"rounds"`
	Suites  []suite `json:"suites"`
}

// suite is the result of one suite.
type suite struct {
	Name    string     `json:"name"`
	Figures []measured `json:"figures"`
	Growth  []grown    `json:"growth,omitempty"`
}

// markdown writes all tables.
func (r *report) markdown(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "    %s\n\n%s. Medians of %d rounds.\n", r.Command, r.Machine, r.Rounds)
	for _, s := range r.Suites {
		fmt.Fprintf(&out, "\n## %s\n", s.Name)
		for _, f := range s.Figures {
			f.markdown(&out)
		}
		levels(&out, s.Figures)
		growthTable(&out, s.Growth)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (f *measured) markdown(w *bytes.Buffer) {
	fmt.Fprintf(w, "\n**%s**\n\n", f.Name)
	ratio := ""
	if f.Reference != "" {
		ratio = "ratio to " + f.Reference
	}
	fmt.Fprintf(w, "| | unit | median | MAD | min..max | CPU s | peak MiB | output bytes | %s |\n|---|---|---|---|---|---|---|---|---|\n", ratio)
	for _, row := range f.Rows {
		ratio := ""
		if row.Ratio != nil {
			ratio = row.Ratio.text()
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s..%s | %s | %s | %s | %s |\n", row.Name, row.Unit, number(row.Median), number(row.MAD),
			number(row.Min), number(row.Max), present(row.CPU, "%.3f"), present(float64(row.Peak)/(1<<20), "%.0f"), present(float64(row.Bytes), "%.0f"), ratio)
	}
}

// text is a median with its bounds.
func (s *spread) text() string {
	if s.Min == s.Max {
		return number(s.Median)
	}
	return fmt.Sprintf("%s [%s..%s]", number(s.Median), number(s.Min), number(s.Max))
}

// present is empty for nothing.
func present(value float64, format string) string {
	if value == 0 {
		return ""
	}
	return fmt.Sprintf(format, value)
}

// number has three digits that count.
func number(value float64) string {
	if value == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(value))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 6), value)
}

func levels(w *bytes.Buffer, figures []measured) {
	head := "\n| level | bound | got | met |\n|---|---|---|---|\n"
	for _, f := range figures {
		for _, v := range f.Levels {
			fmt.Fprintf(w, "%s| %s: %s | %s | %s | %s |\n", head, f.Name, v.Text, number(v.Bound), v.Got.text(), yes(v.Met))
			head = ""
		}
	}
}

func growthTable(w *bytes.Buffer, all []grown) {
	head := "\n| growth | input | time for the same amount | within 15 % of linear |\n|---|---|---|---|\n"
	for _, g := range all {
		var scales, costs []string
		for i, scale := range g.Scales {
			scales = append(scales, fmt.Sprintf("%dx", scale))
			costs = append(costs, number(g.Relative[i]))
		}
		fmt.Fprintf(w, "%s| %s, %s | %s | %s | %s |\n", head, g.Series, g.Contender, strings.Join(scales, " "), strings.Join(costs, " "), yes(g.Met))
		head = ""
	}
}

func yes(met bool) string {
	if met {
		return "yes"
	}
	return "no"
}

// chartGroups are the figures as groups of bars, and after those of a suite one
// group for each series.
func chartGroups(r *report) []group {
	var groups []group
	for _, s := range r.Suites {
		for _, f := range s.Figures {
			byUnit := map[string]int{}
			for _, row := range f.Rows {
				i, known := byUnit[row.Unit]
				if !known {
					i = len(groups)
					byUnit[row.Unit] = i
					groups = append(groups, group{title: fmt.Sprintf("%s: %s (%s)", s.Name, f.Name, row.Unit)})
				}
				groups[i].bars = append(groups[i].bars, bar{row.Name, row.spread})
			}
		}
		for _, g := range s.Growth {
			series := group{title: fmt.Sprintf("%s: %s, %s, time for the same amount of input", s.Name, g.Series, g.Contender)}
			for i, scale := range g.Scales {
				value := g.Relative[i]
				series.bars = append(series.bars, bar{fmt.Sprintf("%dx", scale), spread{Median: value, Min: value, Max: value}})
			}
			groups = append(groups, series)
		}
	}
	return groups
}
