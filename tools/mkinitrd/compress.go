package main

import (
	"bytes"
	"fmt"
	"io"

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

// compress passes on what write writes, compressed, with NULs up to a multiple of
// four bytes, where the kernel looks for the next archive (init/initramfs.c,
// unpack_to_rootfs).
//
// The whole is in memory for zstd: a frame that says its size has a window no
// larger than that. One encoder makes the same bytes on any number of
// processors; several segments are several actions. The archive has about size
// bytes.
func compress(w io.Writer, how string, size int64, write func(io.Writer) error) error {
	if how == "none" {
		counter := &counter{w: w}
		if err := write(counter); err != nil {
			return err
		}
		return pad(w, counter.n)
	}
	plain := bytes.NewBuffer(make([]byte, 0, size))
	if err := write(plain); err != nil {
		return err
	}
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(levels[how]), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	packed := encoder.EncodeAll(plain.Bytes(), nil)
	if err := encoder.Close(); err != nil {
		return err
	}
	if _, err := w.Write(packed); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return pad(w, int64(len(packed)))
}

func pad(w io.Writer, size int64) error {
	if _, err := w.Write(make([]byte, -size&(newc.Alignment-1))); err != nil {
		return fmt.Errorf("write padding: %w", err)
	}
	return nil
}

// counter counts what it passes on.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
