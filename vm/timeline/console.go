package timeline

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kindling-vm/kindling/guest/contract"
)

const (
	// maxLine bounds what of a console line is looked at, in bytes. Those of init's
	// have at most about 2100.
	maxLine = 4 << 10
	// maxSteps bounds a boot's steps, maxName a step's name in bytes, and maxTitle
	// a title, maxNote a note.
	maxSteps = 64
	maxName  = 20
	maxTitle = 90
	maxNote  = 125
	// maxUptime is more than a boot takes.
	maxUptime = 24 * time.Hour
)

// console is what the guest said, each with its line's first byte's arrival.
type console struct {
	line  []byte
	begun bool          // line has a byte, though it may not be kept
	at    time.Duration // arrival of its first byte

	// logStart and bootStart are upper bounds on when the clocks of the kernel's
	// log and of init began, nil as long as no line had a time of them.
	logStart, bootStart *time.Duration
	runInit             *time.Duration // by the log's clock: the kernel starts /init
	record              *bootRecord
	refused             error // why a record is not taken

	program, agent, exit *time.Duration
}

// bootRecord is what init's line at the end of the boot says, by CLOCK_BOOTTIME.
type bootRecord struct {
	ready time.Duration
	steps []step
}

type step struct {
	name   string
	length time.Duration
	failed bool
}

// write takes output that came at a time.
func (c *console) write(p []byte, at time.Duration) {
	for len(p) > 0 {
		piece, rest, found := bytes.Cut(p, []byte("\n"))
		if !c.begun {
			c.begun, c.at = true, at
		}
		c.line = append(c.line, piece[:min(len(piece), maxLine-len(c.line))]...)
		if found {
			c.see(strings.TrimRight(string(c.line), "\r"))
			c.line, c.begun = c.line[:0], false
		}
		p = rest
	}
}

// see takes a line. What has the kernel's clock counts only before the
// application's start, since an application prints what it likes.
func (c *console) see(line string) {
	if c.program == nil {
		c.seeKernelLine(line)
		c.seeRecord(line)
	}
	for _, event := range []struct {
		marker string
		at     **time.Duration
	}{{contract.ProgramStartMarker, &c.program}, {contract.AgentReadyMarker, &c.agent}} {
		if *event.at == nil {
			if _, ok := contract.ParseMarker(line, event.marker); ok {
				*event.at = new(c.at)
			}
		}
	}
	if _, ok := contract.ParseExit(line); ok {
		c.exit = new(c.at) // init prints the last one
	}
}

// kernelTime is what printk puts before a line on the console: seconds and
// microseconds (print_time in the kernel's kernel/printk/printk.c).
var kernelTime = regexp.MustCompile(`^\[ *([0-9]{1,5})\.([0-9]{6})\](?:\[ *[CT][0-9]+\])? `)

func (c *console) seeKernelLine(line string) {
	found := kernelTime.FindStringSubmatch(line)
	if found == nil {
		return
	}
	us, err := strconv.ParseInt(found[1]+found[2], 10, 64)
	if err != nil {
		return
	}
	stamp := time.Duration(us) * time.Microsecond
	if start := c.at - stamp; c.logStart == nil || start < *c.logStart {
		c.logStart = &start
	}
	if c.runInit == nil && strings.HasPrefix(line[len(found[0]):], "Run /init as init process") {
		c.runInit = &stamp
	}
}

func (c *console) seeRecord(line string) {
	_, text, found := strings.Cut(line, contract.BootMarker+" ")
	if !found || c.record != nil || c.refused != nil {
		return
	}
	record, err := parseRecord(text)
	if err != nil {
		c.refused = fmt.Errorf("read record of the boot: %w", err)
		return
	}
	c.record = record
	c.bootStart = new(c.at - record.ready)
}

// parseRecord reads what stands behind contract.BootMarker.
func parseRecord(text string) (*bootRecord, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 || len(fields) > 1+maxSteps {
		return nil, fmt.Errorf("it has %d fields, want 1 to %d", len(fields), 1+maxSteps)
	}
	record := &bootRecord{}
	var sum time.Duration
	for i, field := range fields {
		name, number, _ := strings.Cut(field, "=")
		number, failed := strings.CutSuffix(number, "!")
		us, err := strconv.ParseUint(number, 10, 64)
		switch {
		case err != nil || us > uint64(maxUptime.Microseconds()):
			return nil, fmt.Errorf("field %q, want NAME=MICROSECONDS of at most %v", clip(field, maxName), maxUptime)
		case i == 0 && (name != "ready" || failed):
			return nil, fmt.Errorf("first field %q, want ready", clip(field, maxName))
		case i == 0:
			record.ready = time.Duration(us) * time.Microsecond
			continue
		case !isStepName(name):
			return nil, fmt.Errorf("step %q, want 1 to %d letters, digits and -", clip(name, maxName), maxName)
		case slices.ContainsFunc(record.steps, func(s step) bool { return s.name == name }):
			return nil, fmt.Errorf("step %q comes twice", name)
		}
		s := step{name, time.Duration(us) * time.Microsecond, failed}
		record.steps = append(record.steps, s)
		if sum += s.length; sum > record.ready {
			return nil, fmt.Errorf("steps take longer than the boot, %v", record.ready)
		}
	}
	return record, nil
}

func isStepName(name string) bool {
	return len(name) > 0 && len(name) <= maxName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// clip makes a text of any bytes one of printable ASCII and not too long.
func clip(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	if len(text) > limit {
		text = text[:limit-3] + "..."
	}
	return text
}
