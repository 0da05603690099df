package timeline

import (
	"fmt"
	"slices"
	"time"
)

// SVG draws the timeline: how much of the time was whose, what happened when,
// and init's steps on an axis of their own.
func (t *Timeline) SVG() []byte {
	p := &page{y: margin + 14}
	to, headline := t.headline()
	p.text("title", margin, p.y, headline)
	p.y += 24
	p.text("muted", margin, p.y, t.Title)
	p.y += 20
	t.drawShares(p, to)
	notes := t.drawRun(p)
	if steps := t.steps(); len(steps) > 0 {
		drawSteps(p, steps)
	}
	for _, note := range slices.Concat(t.Notes, notes) {
		p.y += noteHeight
		p.text("muted", margin, p.y, clip(note, maxNote))
	}
	return p.document(headline + ": " + t.Title)
}

// headline says what people wait for, and when it was.
func (t *Timeline) headline() (at time.Duration, text string) {
	for _, m := range t.Marks {
		if m.Name == firstOutput {
			return m.At, "First output after " + seconds(m.At)
		}
	}
	if i := t.find(App); i >= 0 {
		return t.Spans[i].Start, "Application started after " + seconds(t.Spans[i].Start)
	}
	return t.End, "No application; the run ended after " + seconds(t.End)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// find is the index of the first span of a lane, or -1.
func (t *Timeline) find(lane Lane) int {
	return slices.IndexFunc(t.Spans, func(s Span) bool { return s.Lane == lane })
}

// share is a part of the time up to the headline's.
type share struct {
	Lane
	name     string
	from, to time.Duration
}

// shares cuts the time up to an end at the first spans of the lanes on the way
// to the application. Where a lane is not known, its time is of the one before.
func (t *Timeline) shares(end time.Duration) []share {
	last := share{Lane: Host}
	var all []share
	for _, lane := range []Lane{Hypervisor, Kernel, Init, App} {
		i := t.find(lane)
		if i < 0 {
			continue
		}
		if last.to = min(t.Spans[i].Start, end); last.to > last.from {
			all = append(all, last)
		}
		last = share{Lane: lane, from: max(last.to, last.from)}
	}
	if last.to = end; last.to > last.from {
		all = append(all, last)
	}
	for i, s := range all {
		all[i].name = s.Lane.String()
		if s.Lane == Hypervisor && t.find(Kernel) < 0 {
			all[i].name = "machine"
		}
	}
	return all
}

// drawShares draws the shares as parts of one bar, and what they are below.
func (t *Timeline) drawShares(p *page, end time.Duration) {
	const width, height, column = pageWidth - 2*margin, 30, (pageWidth - 2*margin) / 5
	x, shares := float64(margin), t.shares(end)
	for i, s := range shares {
		part := float64(s.to-s.from) / float64(end) * width
		class := fmt.Sprintf("lane%d", s.Lane)
		p.rect(class, x, p.y, part, height, "")
		if text := percent(s.to-s.from, end); part > 45 {
			p.text("onbar mid", x+part/2, p.y+20, text)
		}
		x += part
		left := margin + float64(i)*column
		p.rect(class, left, p.y+height+12, 12, 12, "")
		p.text("strong", left+18, p.y+height+23, s.name)
		p.text("muted", left+18, p.y+height+41, fmt.Sprintf("%s, %s", milliseconds(s.to-s.from), percent(s.to-s.from, end)))
	}
	p.y += height + 41 + 42
}
