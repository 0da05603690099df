package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// highlights is how many of the longest rows of a chart stand out.
	highlights = 3
	// zoomGap is between the chart of the run and that of init's steps, in pixels.
	zoomGap = 74
)

// row is a line of a chart.
type row struct {
	Span
	label string // behind the bar
}

func newRow(s Span) row {
	label := milliseconds(s.Length)
	if s.Failed {
		label += ", failed"
	}
	return row{s, label}
}

// rows are the spans, init's steps as one, and what marks tell.
func (t *Timeline) rows() []row {
	spans := slices.DeleteFunc(slices.Clone(t.Spans), isStep)
	if steps := t.steps(); len(steps) > 0 {
		all := Span{Lane: Init, Name: allSteps, Start: steps[0].Start, Clock: KernelClock}
		all.Length = steps[len(steps)-1].end() - all.Start
		for _, s := range steps {
			all.Failed = all.Failed || s.Failed
		}
		spans = append(spans, all)
	}
	for _, m := range t.Marks {
		if app := t.find(App); m.Name == firstOutput && app >= 0 && m.At >= t.Spans[app].Start {
			start := t.Spans[app].Start
			spans = append(spans, Span{App, "to " + firstOutput, start, m.At - start, ConsoleClock, false})
		}
		if m.Lane == Agent && t.find(Agent) < 0 {
			spans = append(spans, Span{Lane: Agent, Name: m.Name, Start: m.At, Clock: ConsoleClock})
		}
	}
	slices.SortStableFunc(spans, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Length, b.Length))
	})
	var rows []row
	for _, s := range spans {
		r := newRow(s)
		if s.Name == agentReady {
			r.label = "at " + milliseconds(s.Start)
		}
		rows = append(rows, r)
	}
	return rows
}

func isStep(s Span) bool {
	return s.Lane == Init && s.Clock == KernelClock // what else is init's is by the console too
}

// steps are those of init.
func (t *Timeline) steps() []Span {
	return slices.DeleteFunc(slices.Clone(t.Spans), func(s Span) bool { return !isStep(s) })
}

// shown is the stretch of the run that is drawn: all of it, but of one that went
// on for long behind the start of the application, only a bit of the rest.
func (t *Timeline) shown(rows []row) axis {
	var started time.Duration
	for _, r := range rows {
		if r.Name != application && r.Name != powerOff {
			started = max(started, r.end())
		}
	}
	if app := t.find(App); app >= 0 {
		// Output or an agent that comes late is no part of the start either.
		if started = min(started, 2*t.Spans[app].Start); t.End > 2*started {
			return axis{0, started + started/4}
		}
	}
	return axis{0, t.End}
}

// drawRun draws the chart of all that happened, and gives notes on what is not
// on it.
func (t *Timeline) drawRun(p *page) (notes []string) {
	const height = 27
	all := t.rows()
	a := t.shown(all)
	var rows []row
	for _, r := range all {
		switch {
		case r.Start >= a.to:
			notes = append(notes, fmt.Sprintf("behind the end of the axis: %v, %s, %s from %s on",
				r.Lane, r.Name, r.label, seconds(r.Start)))
			continue
		case r.end() > a.to:
			r.label = "goes on to " + seconds(r.end())
		}
		rows = append(rows, r)
	}
	p.text("head", margin, p.y, "The run")
	p.y += 26
	top := p.y
	for i, r := range rows {
		if r.Lane%2 == 0 {
			p.rect("band", margin-8, top+float64(i*height), pageWidth-2*margin+16, height, "")
		}
	}
	a.grid(p, top, float64(len(rows)*height))
	for i, r := range rows {
		if r.Name == allSteps {
			p.zoom(a.x(r.Start), a.x(r.end()), top+float64(i*height)+6, top+float64(len(rows)*height))
		}
		if i == 0 || rows[i-1].Lane != r.Lane {
			p.text(fmt.Sprintf("strong lane%d", r.Lane), margin, p.y+float64(i*height)+18, r.Lane.String())
		}
	}
	drawRows(p, a, rows, height, 0)
	return notes
}

// zoom lays a light over a stretch of the run that widens below it.
func (p *page) zoom(left, right, top, bottom float64) {
	right = max(right, left+minBar)
	p.body.WriteString(`<polygon class="zoom" points="`)
	for _, at := range [][2]float64{
		{left, top}, {left, bottom}, {barsLeft, bottom + zoomGap},
		{barsRight, bottom + zoomGap}, {right, bottom}, {right, top},
	} {
		fmt.Fprintf(&p.body, "%.1f,%.1f ", at[0], at[1])
	}
	p.body.WriteString("\"/>\n")
}

// drawSteps draws init's steps on an axis of their own.
func drawSteps(p *page, steps []Span) {
	const height = 21
	a := axis{steps[0].Start, steps[len(steps)-1].end()}
	var rows []row
	for _, s := range steps {
		rows = append(rows, newRow(s))
	}
	p.y += zoomGap
	p.text("head", margin, p.y-26, "Init's steps")
	p.rect("zoom", barsLeft, p.y, barsRight-barsLeft, float64(len(steps)*height), "")
	a.grid(p, p.y, float64(len(steps)*height))
	drawRows(p, a, rows, height, a.to-a.from)
}

// drawRows draws names, bars and labels. The longest stand out, with their part
// of a whole, if there is one.
func drawRows(p *page, a axis, rows []row, height float64, whole time.Duration) {
	limit := standOut(rows)
	for _, r := range rows {
		middle := p.y + height/2
		class, weight, label := " faint", "muted", r.label
		if r.Name != application && r.Length >= limit { // nobody waits for an application's end
			class, weight = "", "strong"
			if whole > 0 {
				label += ", " + percent(r.Length, whole)
			}
		}
		p.text("end "+weight, barsLeft-labelSpace, middle+5, r.Name)
		right := a.bar(p, class, r.Span, p.y+5, height-10)
		p.text(weight, right+labelSpace, middle+5, label)
		p.y += height
	}
}

// standOut is the least length of a row that stands out.
func standOut(rows []row) time.Duration {
	var lengths []time.Duration
	for _, r := range rows {
		if r.Name != application {
			lengths = append(lengths, r.Length)
		}
	}
	slices.Sort(lengths)
	if len(lengths) == 0 {
		return 0
	}
	return max(lengths[max(0, len(lengths)-highlights)], 1)
}
