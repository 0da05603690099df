package contract

import (
	"testing"
	"time"
)

func TestParseMarker(t *testing.T) {
	at := time.Date(2026, 3, 8, 15, 9, 26, 123456789, time.UTC)
	tests := []struct {
		name, line, marker string
		want               time.Time // zero for none
	}{
		{"agent's log line", "2026/03/08 15:09:26 [guest-agent] HYPEMAN-AGENT-READY ts=2026-03-08T15:09:26.123456789Z\r", AgentReadyMarker, at},
		{"init's log line", "2026-03-08T15:09:26Z [INFO] [hypeman-init:entrypoint] HYPEMAN-PROGRAM-START ts=2026-03-08T15:09:26.123456789Z mode=exec", ProgramStartMarker, at},
		{"whole seconds", "HYPEMAN-AGENT-READY ts=2026-03-08T15:09:26Z", AgentReadyMarker, at.Truncate(time.Second)},
		{"other zone", "HYPEMAN-AGENT-READY ts=2026-03-08T16:09:26.123456789+01:00", AgentReadyMarker, at},
		{"other field first", "HYPEMAN-PROGRAM-START\x20\tmode=exec  ts=2026-03-08T15:09:26.123456789Z", ProgramStartMarker, at},
		{"first field counts", "HYPEMAN-AGENT-READY ts=x ts=2026-03-08T15:09:26Z", AgentReadyMarker, time.Time{}},
		{"first marker counts", "HYPEMAN-AGENT-READY ts=x HYPEMAN-AGENT-READY ts=2026-03-08T15:09:26Z", AgentReadyMarker, time.Time{}},
		{"no time", "HYPEMAN-AGENT-READY mode=exec", AgentReadyMarker, time.Time{}},
		{"no zone", "HYPEMAN-AGENT-READY ts=2026-03-08T15:09:26", AgentReadyMarker, time.Time{}},
		{"no space behind", "HYPEMAN-AGENT-READY\tts=2026-03-08T15:09:26Z", AgentReadyMarker, time.Time{}},
		{"other marker", "HYPEMAN-PROGRAM-START ts=2026-03-08T15:09:26Z", AgentReadyMarker, time.Time{}},
		{"nothing behind", "HYPEMAN-AGENT-READY ", AgentReadyMarker, time.Time{}},
		{"empty", "", AgentReadyMarker, time.Time{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := ParseMarker(test.line, test.marker)
			if !got.Equal(test.want) || ok == test.want.IsZero() {
				t.Errorf("got %v, %v, want %v", got, ok, test.want)
			}
		})
	}
}
