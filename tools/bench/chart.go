package main

import (
	"bytes"
	"fmt"
	"html"
)

// group is bars of one unit, which share a scale.
type group struct {
	title string
	bars  []bar
}

// bar is a value with what it varied by.
type bar struct {
	label string
	spread
}

// Sizes in the chart, in pixels.
const (
	chartWidth = 960
	labelWidth = 280
	valueWidth = 80
	lineHeight = 20
	margin     = 10
)

// chart draws bars from left to right, each with a line from its least to its
// largest value, in SVG 1.1. Every group has a scale of its own.
func chart(groups []group) []byte {
	var body bytes.Buffer
	y := margin
	for _, g := range groups {
		y += lineHeight
		fmt.Fprintf(&body, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", margin, y-5, html.EscapeString(g.title))
		largest := 0.0
		for _, b := range g.bars {
			largest = max(largest, b.Max, b.Median)
		}
		for _, b := range g.bars {
			b.draw(&body, y, largest)
			y += lineHeight
		}
		y += margin
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", chartWidth, y)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, y)
	out.Write(body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (b *bar) draw(w *bytes.Buffer, y int, largest float64) {
	const room = chartWidth - labelWidth - valueWidth - 3*margin
	length := func(value float64) float64 {
		if largest <= 0 {
			return 0
		}
		return max(value, 0) / largest * room
	}
	left := float64(labelWidth + margin)
	middle := y + lineHeight/2
	fmt.Fprintf(w, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth, middle+4, html.EscapeString(b.label))
	fmt.Fprintf(w, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#4477aa"/>`+"\n", left, y+3, length(b.Median), lineHeight-6)
	if b.Min != b.Max {
		fmt.Fprintf(w, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#000000"/>`+"\n", left+length(b.Min), middle, left+length(b.Max), middle)
	}
	fmt.Fprintf(w, `<text x="%d" y="%d">%s</text>`+"\n", chartWidth-valueWidth-margin, middle+4, number(b.Median))
}
