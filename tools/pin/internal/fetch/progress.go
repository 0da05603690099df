package fetch

import (
	"fmt"
	"io"
	"path"
	"time"
)

// Progress tells how far downloads are. Its zero value tells nothing.
type Progress struct {
	W io.Writer
	// Terminal rewrites one line. Otherwise, there is a line every few seconds.
	Terminal bool

	file string
	last time.Time
	line bool // one is on the terminal, to be rewritten
}

const (
	plainEvery    = 5 * time.Second
	terminalEvery = 100 * time.Millisecond
	clearLine     = "\r\x1b[K"
)

func (p *Progress) start(now time.Time, url string) {
	p.file, p.last = path.Base(Display(url)), now
}

// add tells of have bytes of total, which may be unknown: below 0.
func (p *Progress) add(now time.Time, have, total int64) {
	every := plainEvery
	if p.Terminal {
		every = terminalEvery
	}
	if p.W == nil || now.Sub(p.last) < every {
		return
	}
	p.last = now
	text := fmt.Sprintf("%s: %s", p.file, megabytes(have))
	if total > 0 {
		text += fmt.Sprintf(" of %s, %d%%", megabytes(total), have*100/total)
	}
	if p.Terminal {
		p.line = true
		fmt.Fprint(p.W, clearLine+text)
		return
	}
	fmt.Fprintln(p.W, text)
}

// say writes a line of its own.
func (p *Progress) say(format string, args ...any) {
	if p.W == nil {
		return
	}
	p.end()
	fmt.Fprintf(p.W, p.file+": "+format+"\n", args...)
}

// end leaves a clean line behind.
func (p *Progress) end() {
	if p.line {
		fmt.Fprint(p.W, clearLine)
		p.line = false
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
