package timeline

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

// box is where something is drawn, in pixels.
type box struct {
	what                     string
	left, top, right, bottom float64
}

func (b box) overlaps(o box) bool {
	return b.left < o.right && o.left < b.right && b.top < o.bottom && o.top < b.bottom
}

// requireDrawn checks that a timeline's picture is XML, that all that is on it
// is within it, and that no text is on another or on a bar.
func requireDrawn(t *testing.T, timeline *Timeline) {
	t.Helper()
	data := timeline.SVG()
	if !bytes.Equal(data, timeline.SVG()) {
		t.Error("another drawing differs")
	}
	page, texts, bars := parseSVG(t, data)
	for i, text := range texts {
		if text.left < page.left || text.right > page.right || text.top < page.top || text.bottom > page.bottom {
			t.Errorf("%q is from %.0f,%.0f to %.0f,%.0f on a page of %.0f,%.0f",
				text.what, text.left, text.top, text.right, text.bottom, page.right, page.bottom)
		}
		for _, other := range texts[:i] {
			if text.overlaps(other) {
				t.Errorf("%q is on %q", text.what, other.what)
			}
		}
		for _, bar := range bars {
			if text.overlaps(bar) && !strings.HasPrefix(text.what, "onbar ") {
				t.Errorf("%q is on a bar of %s", text.what, bar.what)
			}
		}
	}
	for _, bar := range bars {
		if bar.left < page.left || bar.right > page.right || bar.bottom > page.bottom {
			t.Errorf("bar %+v is out of the page", bar)
		}
	}
}

// parseSVG gives the page, its texts and the bars of its lanes. It requires
// well-formed XML.
func parseSVG(t *testing.T, data []byte) (page box, texts, bars []box) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(data))
	var text *box
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return page, texts, bars
		}
		if err != nil {
			t.Fatalf("parse SVG: %v\n%s", err, data)
		}
		switch token := token.(type) {
		case xml.StartElement:
			attributes := map[string]string{}
			for _, a := range token.Attr {
				attributes[a.Name.Local] = a.Value
			}
			number := func(name string) float64 {
				value, err := strconv.ParseFloat(attributes[name], 64)
				if err != nil {
					t.Fatalf("%s of %s: %v", name, token.Name.Local, err)
				}
				return value
			}
			switch token.Name.Local {
			case "svg":
				page = box{right: number("width"), bottom: number("height")}
			case "text":
				text = &box{what: attributes["class"], left: number("x"), bottom: number("y")}
			case "rect":
				if class := attributes["class"]; strings.HasPrefix(class, "lane") {
					x, y := number("x"), number("y")
					bars = append(bars, box{class, x, y, x + number("width"), y + number("height")})
				}
			}
		case xml.CharData:
			if text != nil {
				text.measure(string(token))
				texts, text = append(texts, *text), nil
			}
		}
	}
}

// measure makes a box whose left and bottom are a text's anchor the text's. Of
// the fonts in use, DejaVu Sans is a wide one; its widths are in thousandths of
// the size.
func (b *box) measure(text string) {
	size, width, middle, end := 13.0, 0.0, false, false
	for _, class := range strings.Fields(b.what) {
		switch class {
		case "title":
			size = 25
		case "head":
			size = 15
		case "mid":
			middle = true
		case "end":
			end = true
		}
	}
	for _, r := range text {
		w := 636.0
		switch {
		case strings.ContainsRune(" .,:'il|", r):
			w = 318
		case strings.ContainsRune("frtj-()", r):
			w = 411
		case strings.ContainsRune("mwMW%", r):
			w = 974
		}
		width += w * size / 1000
	}
	if strings.Contains(b.what, "strong") || strings.Contains(b.what, "title") {
		width *= 1.1
	}
	b.what += " " + text
	switch {
	case middle:
		b.left -= width / 2
	case end:
		b.left -= width
	}
	b.right, b.top = b.left+width, b.bottom-0.75*size
}

func TestSVG(t *testing.T) {
	all := "2026-02-13T15:26:27Z [INFO] [hypeman-init:boot] KINDLING-BOOT ready=86400000000"
	for i := range maxSteps {
		all += fmt.Sprintf(" %s%02d=1350000000!", strings.Repeat("m", maxName-2), i)
	}
	day := 24 * int(time.Hour/time.Microsecond)
	tests := []struct {
		name, script string
		want         []string // texts in their order, with others between
	}{
		{"nothing", "", []string{"No application; the run ended after 0.00 s"}},
		{"boot that fails", launched + serial(1500, runInit) + serial(1700, exit) + "1800 ended \"\"\n", []string{
			"No application; the run ended after 0.00 s", "kernel", "init", "boot, to /init", "0.40 ms", "to its end", "0.20 ms",
		}},
		{"no output", launched + serial(2000, record) + serial(2100, program) + serial(2200, exit), []string{
			"Application started after 0.00 s", "init", "steps", "0.45 ms, failed", "Init's steps", "two", "0.30 ms, failed, 67%",
		}},
		{"no record, but the kernel's log", launched + serial(1500, runInit) + serial(2000, program+exit), []string{
			"kernel", "0.40 ms, 20%", "init", "0.50 ms, 25%", "to application",
		}},
		{"no record", launched + serial(2000, program) + serial(2100, ready+"hi\n") + serial(2200, exit), []string{
			"host", "machine", "application", "agent", "ready", "at 2.10 ms",
		}},
		{"server", launched + serial(2000, record) + serial(2100, program+"hi\n") + serial(day, exit) + fmt.Sprintf("%d ended \"\"\n", day+9), []string{
			"start to outcome", "goes on to 86400.00 s", "behind the end of the axis: hypervisor, power off, 0.01 ms from 86400.00 s on",
		}},
		{"longest", launched + serial(day+1000, all+"\n") + serial(day+2000, program) + serial(day+3000, exit), []string{
			"steps", "86400 s, failed", "1350 s, failed, 2%",
		}},
		{"hostile", launched + serial(2000, "KINDLING-BOOT ready=1 </text><script>\"&\x00\xff=1\n"), []string{
			`init's steps are not drawn: read record of the boot: step "</text><script>\"&??", want 1 to 20 letters, digits and -`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			timeline := replay(t, test.script).Timeline("<\"&'\x00\u00e9> " + strings.Repeat("M", 200))
			requireDrawn(t, timeline)
			_, texts, _ := parseSVG(t, timeline.SVG())
			var drawn []string
			for _, text := range texts {
				drawn = append(drawn, text.what)
			}
			rest := drawn
			for _, want := range test.want {
				for len(rest) > 0 && !strings.Contains(rest[0], want) {
					rest = rest[1:]
				}
				if len(rest) == 0 {
					t.Fatalf("no %q, or not in its place, among\n%s", want, strings.Join(drawn, "\n"))
				}
			}
		})
	}
}

func TestRecordedIsDrawn(t *testing.T) { requireDrawn(t, recorded(t)) }
