package timeline

import (
	"slices"
	"sync"
	"time"

	"github.com/kindling-vm/kindling/vm"
)

// Recorder collects what a timeline is made of. It is safe for concurrent use.
type Recorder struct {
	now func() time.Time

	mu      sync.Mutex
	start   time.Time
	stages  []Span
	ended   *time.Duration // the hypervisor
	console console
	output  *vm.AppOutput
	first   *time.Duration // byte of the application's
	arrival time.Duration  // of what is being written
}

// NewRecorder starts a timeline, by a clock that does not go back, as time.Now.
func NewRecorder(now func() time.Time) *Recorder {
	r := &Recorder{now: now, start: now()}
	r.output = vm.NewAppOutput((*outputWatch)(r))
	return r
}

// Begin starts a stage of the host's; stages follow one another. The end may
// come once.
func (r *Recorder) Begin(name string) (end func()) { return r.begin(Host, name) }

// BeginHypervisor starts the stage that ends when the hypervisor runs.
func (r *Recorder) BeginHypervisor() (end func()) { return r.begin(Hypervisor, hypervisorStart) }

func (r *Recorder) begin(lane Lane, name string) (end func()) {
	start := r.elapsed()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stages = append(r.stages, Span{lane, clip(name, maxName), start, r.elapsed() - start, HostClock, false})
	}
}

// HypervisorEnded says that the machine is gone.
func (r *Recorder) HypervisorEnded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.elapsed()
	r.ended = &at
}

func (r *Recorder) elapsed() time.Duration { return r.now().Sub(r.start) }

// Write takes serial output, in pieces of any size, as it comes. It has no error.
func (r *Recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil { // what was left of a machine that was killed
		return len(p), nil
	}
	r.arrival = r.elapsed()
	r.console.write(p, r.arrival)
	if r.first == nil {
		return r.output.Write(p)
	}
	return len(p), nil
}

// outputWatch notes when the application's first output comes.
type outputWatch Recorder

func (w *outputWatch) Write(p []byte) (int, error) {
	if w.first == nil && len(p) > 0 {
		at := w.arrival
		w.first = &at
	}
	return len(p), nil
}

// Timeline is what is known by now.
func (r *Recorder) Timeline(title string) *Timeline {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &Timeline{Title: clip(title, maxTitle), Spans: slices.Clone(r.stages), End: r.elapsed()}
	if r.ended != nil {
		t.End = *r.ended
	}
	console := r.console
	t.addGuest(&console, r.first, r.ended)
	slices.SortStableFunc(t.Spans, func(a, b Span) int { return int(a.Lane) - int(b.Lane) })
	return t
}
