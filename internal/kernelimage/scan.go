package kernelimage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/klauspost/compress/gzip"
)

const (
	// window is how much of a kernel is in memory at once, in bytes. A packed
	// configuration must fit in; those of distributions have less than 100 KiB.
	window = 1 << 20
	// maxConfig bounds a configuration, in bytes; those of distributions have a
	// quarter of a MiB.
	maxConfig = 4 << 20
	// maxBanners bounds how often something that may be a banner is looked at.
	maxBanners = 64
)

// Marks of what a kernel says about itself.
const (
	bannerStart = "Linux version "
	// kernel/configs.c; a program that looks for configurations has the mark
	// without gzip's magic behind it.
	configStart = "IKCFG_ST"
	configEnd   = "IKCFG_ED"
	gzipMagic   = "\x1f\x8b"

	longestMark = len(bannerStart)
)

// banner is linux_banner of init/version.c. The kernel has formats that look
// alike, with %s for the release.
var banner = regexp.MustCompile(`^Linux version ([0-9]+\.[0-9]+[!-~]* \([ -~]+)\n?\x00`)

// findings are what a scan found. The first of each kind counts.
type findings struct {
	banner  string
	banners int // tried
	config  []byte
}

// scan reads an unpacked kernel to its end for what may lie anywhere in it.
func scan(kernel io.Reader) (found findings, err error) {
	buffer := bufio.NewReaderSize(kernel, window)
	for {
		data, err := buffer.Peek(window)
		atEnd := errors.Is(err, io.EOF)
		if err != nil && !atEnd {
			return findings{}, err
		}
		at := found.next(data)
		switch {
		case at < 0 && atEnd:
			return found, nil
		case at < 0:
			at = len(data) - longestMark + 1 // the end may have the start of a mark
		case at > 0:
			// Next, all of the window is behind the mark.
		default:
			if err := found.take(data); err != nil {
				return findings{}, err
			}
			at = 1
		}
		if _, err := buffer.Discard(at); err != nil {
			return findings{}, err
		}
	}
}

// next finds the first mark that still matters, or gives -1.
func (f *findings) next(data []byte) int {
	at := -1
	if f.config == nil {
		at = bytes.Index(data, []byte(configStart+gzipMagic))
	}
	if f.banner == "" && f.banners < maxBanners {
		if other := bytes.Index(data, []byte(bannerStart)); at < 0 || other >= 0 && other < at {
			at = other
		}
	}
	return at
}

// take looks at data that starts with a mark.
func (f *findings) take(data []byte) (err error) {
	if bytes.HasPrefix(data, []byte(bannerStart)) {
		f.banners++
		if match := banner.FindSubmatch(data[:min(len(data), maxVersionText)]); match != nil {
			f.banner = string(match[1])
		}
		return nil
	}
	packed, _, ended := bytes.Cut(data[len(configStart):], []byte(configEnd))
	if !ended {
		return fmt.Errorf("embedded configuration has no end within %d bytes", window)
	}
	if f.config, err = unpackConfig(packed); err != nil {
		return fmt.Errorf("read embedded configuration: %w", err)
	}
	return nil
}

func unpackConfig(packed []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	config, err := io.ReadAll(io.LimitReader(reader, maxConfig+1))
	if len(config) > maxConfig {
		return nil, fmt.Errorf("it has more than %d bytes", maxConfig)
	}
	return config, err
}
