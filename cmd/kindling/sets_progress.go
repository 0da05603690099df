package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// plainInterval is the time between two lines of plain progress about files that
// are not done.
const plainInterval = 5 * time.Second

// transfers tells how far the files of a set are.
type transfers struct {
	w    io.Writer
	how  string // auto, plain, json or quiet; auto is a line on a terminal, else plain
	now  func() time.Time
	last time.Time // something was shown
	done map[string]bool
	// delay is how long nothing is said in words; JSON is for programs, which can
	// wait for a line.
	delay   time.Duration
	started time.Time
	shown   bool // a line is on the terminal
}

func newTransfers() *transfers { return &transfers{now: time.Now, done: map[string]bool{}} }

// addProgress gives a command the flag for progress. Its addSetFlags or
// addOutput follows.
func addProgress(cmd *cobra.Command) *transfers {
	t := newTransfers()
	addProgressFlag(cmd, &t.how)
	return t
}

func addProgressFlag(cmd *cobra.Command, how *string) {
	cmd.Flags().StringVar(how, "progress", "auto", "tell `HOW` far it is on stderr: auto, plain, json (a line an object) or quiet")
}

// start checks the flag.
func (t *transfers) start(w io.Writer) error {
	t.w, t.last, t.started = w, t.now(), t.now()
	switch t.how {
	case "plain", "json", "quiet":
	case "auto":
		if !isTerminal(w) {
			t.how = "plain"
		}
	default:
		return usageError{fmt.Errorf("--progress is %q, want auto, plain, json or quiet", t.how)}
	}
	return nil
}

// report is called with the bytes so far of a file.
func (t *transfers) report(file string, done, total int64) {
	finished := done == total
	if t.how == "quiet" || t.done[file] {
		return
	}
	interval := progressInterval
	if t.how == "plain" {
		interval = plainInterval
	}
	if !finished && t.now().Sub(t.last) < interval {
		return
	}
	if t.how != "json" && t.now().Sub(t.started) < t.delay {
		return
	}
	t.done[file], t.last = finished, t.now()
	const mib = 1 << 20
	switch {
	case t.how == "json":
		// Nobody misses a line of progress that could not be written.
		_ = json.NewEncoder(t.w).Encode(struct {
			File  string `json:"file"`
			Done  int64  `json:"done"`
			Total int64  `json:"total"`
		}{file, done, total})
	case t.how == "auto":
		// \x1b[K clears what is left of a longer line: ECMA-48, EL.
		t.shown = true
		fmt.Fprintf(t.w, "\r%s: %.1f of %.1f MiB\x1b[K", printable(file), float64(done)/mib, float64(total)/mib)
	case finished:
		fmt.Fprintf(t.w, "kindling: %s: %d bytes\n", printable(file), total)
	default:
		fmt.Fprintf(t.w, "kindling: %s: %d of %d bytes\n", printable(file), done, total)
	}
}

// clear takes away a line on a terminal.
func (t *transfers) clear() {
	if t.shown {
		t.shown = false
		fmt.Fprint(t.w, "\r\x1b[K")
	}
}

// end says how it ended, in the place of a line on a terminal.
func (t *transfers) end(format string, args ...any) {
	t.clear()
	if t.how == "auto" || t.how == "plain" {
		fmt.Fprintf(t.w, "kindling: "+format+"\n", args...)
	}
}
