package timeline

import (
	"encoding/json"
	"fmt"
)

// event is one of the Trace Event Format, which Perfetto and chrome://tracing
// open; times are in microseconds.
// Source: "Trace Event Format", the document of the Chromium project.
type event struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	Scope string         `json:"s,omitempty"`
	Time  *int64         `json:"ts,omitempty"`
	Dur   *int64         `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Args  map[string]any `json:"args,omitempty"`
}

// Trace is the timeline in the Trace Event Format: a thread for each lane,
// complete events for spans, instant events for marks.
func (t *Timeline) Trace() ([]byte, error) {
	events := []event{{Name: "process_name", Phase: "M", PID: 1, Args: map[string]any{"name": t.Title}}}
	for lane, name := range laneNames {
		events = append(events,
			event{Name: "thread_name", Phase: "M", PID: 1, TID: lane + 1, Args: map[string]any{"name": name}},
			event{Name: "thread_sort_index", Phase: "M", PID: 1, TID: lane + 1, Args: map[string]any{"sort_index": lane}})
	}
	for _, s := range t.Spans {
		args := map[string]any{"clock": s.Clock}
		if s.Failed {
			args["failed"] = true
		}
		// What follows in the lane begins where this ends, in whole microseconds too.
		start := s.Start.Microseconds()
		events = append(events, event{
			Name: s.Name, Phase: "X", Time: &start, Dur: new(s.end().Microseconds() - start),
			PID: 1, TID: int(s.Lane) + 1, Args: args,
		})
	}
	for _, m := range t.Marks {
		events = append(events, event{
			Name: m.Name, Phase: "i", Scope: "t", Time: new(m.At.Microseconds()),
			PID: 1, TID: int(m.Lane) + 1, Args: map[string]any{"clock": ConsoleClock},
		})
	}
	data, err := json.MarshalIndent(struct {
		Events []event        `json:"traceEvents"`
		Unit   string         `json:"displayTimeUnit"`
		Other  map[string]any `json:"otherData,omitempty"`
	}{events, "ms", t.otherData()}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode trace: %w", err)
	}
	return append(data, '\n'), nil
}

func (t *Timeline) otherData() map[string]any {
	if len(t.Notes) == 0 {
		return nil
	}
	return map[string]any{"notes": t.Notes}
}
