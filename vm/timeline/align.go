package timeline

import (
	"fmt"
	"slices"
	"time"
)

// addGuest adds what the console told.
func (t *Timeline) addGuest(c *console, first, ended *time.Duration) {
	if c.refused != nil {
		t.note("init's steps are not drawn: %v", c.refused)
	}
	if t.addKernelStart(c) {
		t.addBoot(c)
	}
	t.addAgent(c)
	if c.program != nil {
		end := t.End
		if c.exit != nil {
			end = max(*c.exit, *c.program)
		} else {
			t.note("the console has no outcome: the application is drawn to the machine's end")
		}
		t.add(App, application, *c.program, end, ConsoleClock)
	}
	if first != nil {
		t.Marks = append(t.Marks, Mark{App, firstOutput, *first})
	}
	if c.exit != nil && ended != nil {
		t.add(Hypervisor, powerOff, *c.exit, *ended, ConsoleClock)
	}
}

// addKernelStart adds what the hypervisor did before the kernel started. It says
// whether that is known.
func (t *Timeline) addKernelStart(c *console) bool {
	launch := slices.IndexFunc(t.Spans, func(s Span) bool { return s.Lane == Hypervisor })
	if c.logStart == nil {
		c.logStart = c.bootStart
	}
	if c.logStart == nil || launch < 0 {
		return false
	}
	start, begun := *c.logStart, t.Spans[launch].Start
	if start < begun || c.bootStart != nil && *c.bootStart < begun {
		t.note("kernel and init are not drawn: by the guest's clock, its kernel started before the hypervisor")
		return false
	}
	// The kernel can start before this process sees that the hypervisor runs.
	t.Spans[launch].Length = min(t.Spans[launch].Length, start-begun)
	t.add(Hypervisor, kernelLoad, t.Spans[launch].end(), start, ConsoleClock)
	return true
}

// addBoot adds kernel and init.
func (t *Timeline) addBoot(c *console) {
	var kernelEnd *time.Duration
	name := kernelAndInit
	if c.runInit != nil {
		kernelEnd, name = new(*c.logStart+*c.runInit), kernelBoot
	}
	if c.record != nil {
		// The line has no starts: steps follow one another, up to its end.
		at := *c.bootStart + c.record.ready
		for _, s := range c.record.steps {
			at -= s.length
		}
		switch {
		case kernelEnd == nil:
			kernelEnd = new(max(at, *c.logStart))
		case *kernelEnd <= at:
			t.add(Init, initProgram, *kernelEnd, at, ConsoleClock)
		}
		for _, s := range c.record.steps {
			t.add(Init, s.name, at, at+s.length, KernelClock)
			t.Spans[len(t.Spans)-1].Failed = s.failed
			at += s.length
		}
		if c.program != nil {
			t.add(Init, initLaunch, at, *c.program, ConsoleClock)
		}
	}
	if kernelEnd == nil {
		return
	}
	t.add(Kernel, name, *c.logStart, *kernelEnd, KernelClock)
	switch {
	case c.record != nil:
	case c.program != nil:
		t.add(Init, initAlone, *kernelEnd, *c.program, ConsoleClock)
	case c.exit != nil:
		t.add(Init, initFailed, *kernelEnd, max(*c.exit, *kernelEnd), ConsoleClock)
	}
}

// addAgent adds the agent's start, which is a step of init.
func (t *Timeline) addAgent(c *console) {
	if c.agent == nil {
		return
	}
	t.Marks = append(t.Marks, Mark{Agent, agentReady, *c.agent})
	launch := slices.IndexFunc(t.Spans, func(s Span) bool { return s.Lane == Init && s.Name == "agent" })
	if launch >= 0 && t.Spans[launch].Start <= *c.agent {
		t.add(Agent, agentStart, t.Spans[launch].Start, *c.agent, ConsoleClock)
	}
}

func (t *Timeline) add(lane Lane, name string, start, end time.Duration, clock Clock) {
	t.Spans = append(t.Spans, Span{Lane: lane, Name: name, Start: start, Length: end - start, Clock: clock})
}

func (t *Timeline) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}
