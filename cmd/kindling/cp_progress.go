package main

import (
	"fmt"
	"io"
	"time"
)

const (
	// progressDelay is how long a copy may take in silence.
	progressDelay = time.Second
	// progressInterval is the time between two lines.
	progressInterval = 200 * time.Millisecond
)

// progress shows on one line of a terminal how far a long copy is.
type progress struct {
	w       io.Writer // nil shows nothing
	now     func() time.Time
	started time.Time
	shown   time.Time // zero if nothing is shown
}

// newProgress starts to count time. What is no terminal gets no output.
func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		w = nil
	}
	return &progress{w: w, now: time.Now, started: time.Now()}
}

// report is called with the bytes so far.
func (p *progress) report(bytes int64) {
	now := p.now()
	took := now.Sub(p.started)
	if p.w == nil || took < progressDelay || now.Sub(p.shown) < progressInterval {
		return
	}
	p.shown = now
	// \x1b[K clears what is left of a longer line: ECMA-48, EL.
	fmt.Fprintf(p.w, "\r%.1f MiB, %.1f MiB/s\x1b[K", float64(bytes)/(1<<20), float64(bytes)/(1<<20)/took.Seconds())
}

// end takes the line away.
func (p *progress) end() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
