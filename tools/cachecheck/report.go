package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kindling-vm/kindling/tools/internal/execlog"
)

// Limits of the text: what is beyond them is counted. JSON has all of it.
const (
	maxListed = 20  // entries of a list
	maxValue  = 200 // bytes of a value
)

// report is what a comparison found, in the form of the JSON output.
type report struct {
	Equal bool `json:"equal"`
	// Causes are differences that do not follow from others, those in most
	// actions first.
	Causes       []cause      `json:"causes"`
	Consequences int          `json:"consequences"` // actions of which all differences follow from others
	OnlyInA      []action     `json:"onlyInA"`
	OnlyInB      []action     `json:"onlyInB"`
	Restricted   []restricted `json:"restricted"` // in A or in B
	A            summary      `json:"a"`
	B            summary      `json:"b"`
}

type cause struct {
	change
	Actions []action `json:"actions"` // as in B's log, where an input's action comes first
}

// restricted is an action that is not shared or may run on this machine alone.
type restricted struct {
	action
	Why []string `json:"why"`
}

// summary counts actions. Those that were up to date are in no log.
type summary struct {
	Actions int            `json:"actions"`
	Shared  int            `json:"shared"` // may be in a shared cache: Hits + Misses
	Hits    int            `json:"hits"`
	Misses  int            `json:"misses"`
	Ratio   *float64       `json:"ratio"` // Hits / Shared, null for 0/0
	Runners map[string]int `json:"runners"`
}

func newSummary(s execlog.Summary) summary {
	sum := summary{Actions: s.Spawns, Shared: s.Shared, Hits: s.Hits, Misses: s.Shared - s.Hits, Runners: s.Runners}
	if s.Shared > 0 {
		ratio := float64(s.Hits) / float64(s.Shared)
		sum.Ratio = &ratio
	}
	return sum
}

func (s summary) String() string {
	text := count(s.Actions, "action")
	text += fmt.Sprintf(", %d may be shared: %d from a cache, %d not", s.Shared, s.Hits, s.Misses)
	if s.Ratio != nil {
		text += fmt.Sprintf(", %.1f %%", 100**s.Ratio)
	}
	var runners []string
	for _, name := range slices.Sorted(maps.Keys(s.Runners)) {
		runners = append(runners, fmt.Sprintf("%s %d", name, s.Runners[name]))
	}
	return text + " (" + strings.Join(runners, ", ") + ")"
}

func (r *report) json(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func (r *report) text(w io.Writer) error {
	var b strings.Builder
	for i, c := range r.Causes[:min(len(r.Causes), maxListed)] {
		what := strings.TrimSpace(string(c.Kind) + " " + c.Name)
		fmt.Fprintf(&b, "cause %d, in %s: %s\n", i+1, count(len(c.Actions), "action"), what)
		fmt.Fprintf(&b, "  in A:  %s\n  in B:  %s\n", shorten(c.A.String()), shorten(c.B.String()))
		fmt.Fprintf(&b, "  first: %s\n", c.Actions[0])
	}
	if more := len(r.Causes) - maxListed; more > 0 {
		fmt.Fprintf(&b, "%s not shown; -o json has all\n", count(more, "more cause"))
	}
	if r.Consequences > 0 {
		fmt.Fprintf(&b, "different only as a consequence: %s\n", count(r.Consequences, "action"))
	}
	list(&b, "only in A", r.OnlyInA)
	list(&b, "only in B", r.OnlyInB)
	list(&b, "restricted", r.Restricted)
	fmt.Fprintf(&b, "A: %s\nB: %s\n", r.A, r.B)
	if r.Equal {
		b.WriteString("the builds are equal\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func list[T fmt.Stringer](b *strings.Builder, title string, entries []T) {
	if len(entries) == 0 {
		return
	}
	fmt.Fprintf(b, "%s: %s\n", title, count(len(entries), "action"))
	for _, entry := range entries[:min(len(entries), maxListed)] {
		fmt.Fprintf(b, "  %s\n", entry)
	}
	if more := len(entries) - maxListed; more > 0 {
		fmt.Fprintf(b, "  and %d more; -o json has all\n", more)
	}
}

func (r restricted) String() string {
	return r.action.String() + ": " + strings.Join(r.Why, ", ")
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// shorten cuts a value, whose start and end say most.
func shorten(text string) string {
	if len(text) <= maxValue {
		return text
	}
	const half = maxValue / 2
	return fmt.Sprintf("%s...(%d bytes)...%s", text[:half], len(text)-2*half, text[len(text)-half:])
}
