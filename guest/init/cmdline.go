package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/init/internal/gpu"
)

const (
	// shellOption on the kernel's command line asks for a shell on the console
	// when the boot fails.
	shellOption = "kindling.shell"
	// gpuVendorOption names the PCI vendor whose devices are taken for GPUs, for
	// machines that have none of NVIDIA's: a value of sysfs as 0x1af4.
	gpuVendorOption = "kindling.gpu_vendor"
	// consoleLevel is what the kernel's console shows where its command line does
	// not say: errors and worse (console_loglevel of syslog(2)). The console is
	// the application's, and slow.
	consoleLevel = "4"
)

// commandLine is the kernel's command line in words.
func commandLine() ([]string, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, fmt.Errorf("read kernel command line: %w", err)
	}
	return strings.Fields(string(text)), nil
}

// quietKernel bounds what the kernel writes to the console, unless its command
// line says how much that is.
func (m *machine) quietKernel() error {
	words, err := commandLine()
	if err != nil || saysLogLevel(words) {
		return err
	}
	if err := writeExisting("/proc/sys/kernel/printk", consoleLevel); err != nil {
		return fmt.Errorf("set console log level: %w", err)
	}
	return nil
}

func saysLogLevel(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return slices.Contains([]string{"loglevel", "quiet", "debug", "ignore_loglevel"}, name)
	})
}

// gpuVendor is the PCI vendor whose devices need the GPU driver.
func gpuVendor() (string, error) {
	words, err := commandLine()
	if err != nil {
		return "", err
	}
	for _, word := range words {
		if vendor, ok := strings.CutPrefix(word, gpuVendorOption+"="); ok {
			return vendor, nil
		}
	}
	return gpu.NVIDIA, nil
}

// offerShell runs a shell on the console when the command line asks for one. The
// machine ends when the shell has.
func (m *machine) offerShell() {
	words, err := commandLine()
	if err == nil && slices.Contains(words, shellOption) {
		m.log.info("boot", "FATAL: dropping to shell for debugging")
		err = m.runShell()
	}
	if err != nil {
		m.log.failed("boot", err)
	}
}

func (m *machine) runShell() (err error) {
	for _, name := range consoles {
		console, openErr := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
		if openErr != nil {
			err = errors.Join(err, openErr)
			continue
		}
		defer console.Close()
		ended := false
		p := program{path: "/bin/sh", argv: []string{"sh", "-i"}, dir: "/", env: os.Environ(), console: console}
		if _, err := m.children.start(p, func(unix.WaitStatus) { ended = true }); err != nil {
			return err
		}
		for !ended {
			<-m.signals.child
			if _, err := m.children.reap(); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("open console for shell: %w", err)
}
