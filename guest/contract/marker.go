package contract

import (
	"strings"
	"time"
)

// ParseMarker finds a marker such as AgentReadyMarker in one line of the serial
// log, wherever in the line it stands, and gives the time of its ts= field. A
// line whose first such field is no RFC 3339 time has no marker.
func ParseMarker(line, marker string) (time.Time, bool) {
	_, rest, found := strings.Cut(strings.TrimSpace(line), marker+" ")
	if !found {
		return time.Time{}, false
	}
	for _, field := range strings.Fields(rest) {
		if text, ok := strings.CutPrefix(field, "ts="); ok {
			at, err := time.Parse(time.RFC3339Nano, text)
			return at, err == nil
		}
	}
	return time.Time{}, false
}
