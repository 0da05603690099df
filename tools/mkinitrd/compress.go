package main

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/kindling-vm/kindling/tools/internal/newc"
)

// window is how far back a match may lie, in bytes. Two Go programs share parts
// that lie farther apart than the 8 MiB that the compressor takes by itself. The
// kernel allocates the window that a frame declares, so more would not boot in
// little memory.
const window = 32 << 20

// levels are the ways to compress. For 3 MB, the size of init, the best level
// takes more than ten times as long as the fastest and makes 11 % less; for all
// programs, which share much, 28 % less.
var levels = map[string]zstd.EncoderLevel{
	"zstd":      zstd.SpeedBestCompression,
	"zstd-fast": zstd.SpeedFastest,
}

// compress writes the archive, compressed, with NULs up to a multiple of four
// bytes, where the kernel looks for the next archive (init/initramfs.c,
// unpack_to_rootfs).
//
// The whole is in memory for zstd: a frame that says its size has a window no
// larger than that. One encoder makes the same bytes on any number of
// processors; several segments are several actions.
func (a *archive) compress(w *output, how string) error {
	parts := a.split()
	if how == "none" {
		return a.write(w, parts)
	}
	last := parts[len(parts)-1]
	plain := make(memory, last.offset+last.size)
	if err := a.write(plain, parts); err != nil {
		return err
	}
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(levels[how]), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	packed := encoder.EncodeAll(plain, nil)
	if err := encoder.Close(); err != nil {
		return err
	}
	packed = append(packed, make([]byte, -len(packed)&(newc.Alignment-1))...)
	if _, err := w.Write(packed); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// memory is an archive that is to be compressed.
type memory []byte

func (m memory) WriteAt(p []byte, offset int64) (int, error) {
	return copy(m[offset:], p), nil
}
