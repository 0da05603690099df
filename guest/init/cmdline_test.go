package main

import (
	"strings"
	"testing"
)

func TestSaysLogLevel(t *testing.T) {
	tests := []struct {
		line string
		want bool
	}{
		{"console=ttyS0", false},
		{"", false},
		{"console=ttyS0 quiet", true},
		{"loglevel=7", true},
		{"debug", true},
		{"ignore_loglevel", true},
		{"systemd.log_level=debug kindling.shell printk.time=1 quietly", false},
	}
	for _, test := range tests {
		if got := saysLogLevel(strings.Fields(test.line)); got != test.want {
			t.Errorf("%q: got %v, want %v", test.line, got, test.want)
		}
	}
}
