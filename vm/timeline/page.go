package timeline

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"time"
)

// Places and sizes on the page, in pixels.
const (
	pageWidth  = 1200
	margin     = 36
	barsLeft   = 310 // behind a row's lane and name
	barsRight  = 1010
	minBar     = 1.5 // so that the shortest is seen
	labelSpace = 8
	noteHeight = 20
)

// style has the colours of light and dark pages. Lanes have their numbers.
const style = `
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; font-size: 13px }
.page { fill: #ffffff } .band { fill: #f6f8fa } .grid { stroke: #d9dee4 }
.title { font-size: 25px; font-weight: 600 } .head { font-size: 15px; font-weight: 600 }
.muted { fill: #59636e } .strong { font-weight: 600 }
.onbar { fill: #ffffff; font-weight: 600 } .end { text-anchor: end } .mid { text-anchor: middle }
.zoom { fill: #d6336c; fill-opacity: 0.08 }
.faint { fill-opacity: 0.45 } .failed { stroke: #cf222e; stroke-width: 2 }
.lane0 { fill: #4263eb } .lane1 { fill: #0b7f93 } .lane2 { fill: #d9480f }
.lane3 { fill: #d6336c } .lane4 { fill: #7048e8 } .lane5 { fill: #2b8a3e }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .page { fill: #0d1117 } .band { fill: #151b23 } .grid { stroke: #30363d }
.muted { fill: #9198a1 } .failed { stroke: #ff7b72 } .onbar { fill: #0d1117 } .zoom { fill: #f783ac }
.lane0 { fill: #748ffc } .lane1 { fill: #3bc9db } .lane2 { fill: #ff922b }
.lane3 { fill: #f783ac } .lane4 { fill: #9775fa } .lane5 { fill: #51cf66 }
}
`

// page is a picture that grows downwards.
type page struct {
	body bytes.Buffer
	y    float64 // where it is free
}

func (p *page) text(class string, x, y float64, text string) {
	fmt.Fprintf(&p.body, `<text class="%s" x="%.1f" y="%.1f">%s</text>`+"\n", class, x, y, html.EscapeString(text))
}

// rect draws a rectangle that says more when it is pointed at, if there is more.
func (p *page) rect(class string, x, y, width, height float64, more string) {
	const format = `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2"`
	fmt.Fprintf(&p.body, format, class, x, y, width, height)
	if more == "" {
		p.body.WriteString("/>\n")
		return
	}
	fmt.Fprintf(&p.body, "><title>%s</title></rect>\n", html.EscapeString(more))
}

func (p *page) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&p.body, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

// document is the page as SVG 1.1.
func (p *page) document(title string) []byte {
	var out bytes.Buffer
	height := math.Ceil(p.y + margin/2)
	title = html.EscapeString(title)
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%.0f" viewBox="0 0 %d %.0f" role="img">`+"\n",
		pageWidth, height, pageWidth, height)
	fmt.Fprintf(&out, "<title>%s</title>\n<style>%s</style>\n", title, style)
	fmt.Fprintf(&out, `<rect class="page" width="%d" height="%.0f"/>`+"\n", pageWidth, height)
	out.Write(p.body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// axis is a stretch of time that lies between barsLeft and barsRight.
type axis struct{ from, to time.Duration }

func (a axis) x(at time.Duration) float64 {
	if a.to <= a.from {
		return barsLeft
	}
	part := float64(at-a.from) / float64(a.to-a.from)
	return barsLeft + min(max(part, 0), 1)*(barsRight-barsLeft)
}

// bar draws a span's part of the axis.
func (a axis) bar(p *page, class string, s Span, y, height float64) (right float64) {
	left := min(a.x(s.Start), barsRight-minBar)
	right = max(a.x(s.end()), left+minBar)
	class = fmt.Sprintf("lane%d%s", s.Lane, class)
	if s.Failed {
		class += " failed"
	}
	more := fmt.Sprintf("%v, %s: %s, from %s on (clock: %s)",
		s.Lane, s.Name, milliseconds(s.Length), milliseconds(s.Start), s.Clock)
	p.rect(class, left, y, right-left, height, more)
	return right
}

// grid draws lines at round times over a height, with their times from the
// axis's start above them.
func (a axis) grid(p *page, y, height float64) {
	tick := a.tick()
	for at := time.Duration(0); at <= a.to-a.from; at += tick {
		x := a.x(a.from + at)
		p.line("grid", x, y, x, y+height)
		p.text("muted mid", x, y-6, tickLabel(at, tick))
	}
}

// tick is a round time that makes at most nine ticks.
func (a axis) tick() time.Duration {
	for unit := time.Microsecond; ; unit *= 10 {
		for _, tick := range []time.Duration{unit, 2 * unit, 5 * unit} {
			if (a.to-a.from)/tick <= 8 {
				return tick
			}
		}
	}
}

func tickLabel(at, tick time.Duration) string {
	switch {
	case at == 0:
		return "0"
	case tick >= time.Second:
		return fmt.Sprintf("%d s", at/time.Second)
	case tick >= 100*time.Millisecond:
		return fmt.Sprintf("%.1f s", at.Seconds())
	case tick >= time.Millisecond:
		return fmt.Sprintf("%d ms", at/time.Millisecond)
	default:
		return fmt.Sprintf("%g ms", float64(at)/float64(time.Millisecond))
	}
}

// milliseconds is a time for people, with three digits or all that it has, and
// in seconds where that are many.
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case d >= 100*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

// percent is a part of a whole that is not 0.
func percent(part, whole time.Duration) string {
	return fmt.Sprintf("%.0f%%", 100*float64(part)/float64(whole))
}
