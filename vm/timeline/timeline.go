// Package timeline tells where the time of a machine's run goes, from what the
// host did and what the guest says on its serial console. It draws that as SVG
// and writes it as a trace.
//
// There are four clocks. The host's is the axis: it times the host's stages and
// the arrival of console output. The guest's kernel has two, which begin with it,
// some 20 ms apart: printk's, on the lines of its log, and CLOCK_BOOTTIME, of
// init's record. A line comes after the time that it tells, so that its arrival
// less that time is when the clock began, or later: the least of these
// differences is taken for the clock's beginning. The guest's wall clock, in the
// ts= of markers, may be set at any time and places nothing: what only a marker
// tells is placed where the first byte of its line came. What is not known is not
// drawn.
//
// It is not a profiler, and the guest wrote what it says: that is bounded and
// validated, and true only as far as the guest is.
package timeline

import "time"

// Lane is who spends the time of a span.
type Lane int

const (
	Host       Lane = iota // kindling: image, disks
	Hypervisor             // from its start to the kernel's, and from the outcome to its end
	Kernel                 // from its start to its /init
	Init                   // to the application's start
	Agent                  // from its start to its readiness
	App                    // from its start to its outcome
)

var laneNames = []string{
	Host: "host", Hypervisor: "hypervisor", Kernel: "kernel", Init: "init", Agent: "agent", App: "application",
}

func (l Lane) String() string { return laneNames[l] }

// Clock says how a span's start and end are known.
type Clock string

const (
	HostClock    Clock = "host"    // the host saw both
	KernelClock  Clock = "kernel"  // both are of the guest kernel's clock
	ConsoleClock Clock = "console" // one or both are a line's arrival, so late by what the console took
)

// Span is something that took time.
type Span struct {
	Lane   Lane
	Name   string
	Start  time.Duration // since the recorder's start
	Length time.Duration
	Clock  Clock
	Failed bool
}

func (s Span) end() time.Duration { return s.Start + s.Length }

// Mark is something that happened.
type Mark struct {
	Lane Lane
	Name string
	At   time.Duration // since the recorder's start
}

// Timeline is a run of a machine.
type Timeline struct {
	Title string // what ran, for people
	Spans []Span // by lane, then in their order; those of a lane do not overlap
	Marks []Mark // by lane, then in their order
	Notes []string
	End   time.Duration // of the run
}

// Names of the spans and marks that come from no step of init.
const (
	hypervisorStart = "start"
	kernelLoad      = "firmware, load of kernel"
	powerOff        = "power off"
	kernelBoot      = "boot, to /init"
	kernelAndInit   = "boot, to init's first step"
	allSteps        = "steps"
	initProgram     = "program start"
	initLaunch      = "launch of application"
	initAlone       = "to application"
	initFailed      = "to its end"
	agentStart      = "start, to readiness"
	application     = "start to outcome"
	agentReady      = "ready"
	firstOutput     = "first output"
)
