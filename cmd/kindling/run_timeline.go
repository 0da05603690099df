package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/kindling-vm/kindling/system"
	"github.com/kindling-vm/kindling/vm/qemu"
	"github.com/kindling-vm/kindling/vm/timeline"
)

func (r *request) checkTimeline() error {
	if r.Timeline == "" {
		return nil
	}
	if err := timeline.CheckFile(r.Timeline); err != nil {
		return fmt.Errorf("--timeline: %w", err)
	}
	return nil
}

// watch has times see what serial gets, if anybody asks for it.
func (r *request) watch(times *timeline.Recorder, serial io.Writer) io.Writer {
	if r.Timeline == "" {
		return serial
	}
	return io.MultiWriter(times, serial)
}

// writeTimeline writes what there is of a timeline, however the run ended.
func (r *request) writeTimeline(times *timeline.Recorder, accel qemu.Accel) error {
	if r.Timeline == "" {
		return nil
	}
	title := fmt.Sprintf("%s on %s by %s, %d MiB, CPUs: %d",
		cmp.Or(r.Image, "base system"), system.GetArch(), accel, r.Memory, r.CPUs)
	return times.Timeline(title).WriteFile(r.Timeline)
}
