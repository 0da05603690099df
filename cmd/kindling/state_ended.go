package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Files in a machine's folder that outlive it. Logs have a second file, see
// vm.SerialLog.
const (
	recordFile     = "machine.json"
	serialFile     = "serial.log"     // all that came over the serial port
	outputFile     = "output.log"     // the application's part of it
	supervisorFile = "supervisor.log" // what the process of a detached machine printed
)

// keptMachines is of how many machines that have ended something is kept.
const keptMachines = 20

// lasting are the files that stay when a machine has ended.
var lasting = []string{recordFile, serialFile, serialFile + ".1", outputFile, outputFile + ".1", supervisorFile}

// retire puts what outlives a machine in the place of an earlier one of its name,
// and removes its folder, and then its lock's file: a folder without one is not a
// machine's. What it had done when it was killed, the next sweep's finds done.
func retire(state, name string) error {
	dir := filepath.Join(state, machinesFolder, name)
	record, err := readRecord(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && record.Remove:
		err = os.RemoveAll(dir)
	default: // one that cannot be read is for people to look at
		err = keep(dir, filepath.Join(state, endedFolder, name))
	}
	if err != nil {
		return err
	}
	return os.Remove(filepath.Join(state, locksFolder, name))
}

// keep moves a machine's folder without its disks and sockets.
func keep(dir, ended string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if slices.Contains(lasting, entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(ended); err != nil {
		return err
	}
	return os.Rename(dir, ended)
}

// prune removes what is left of the machines that ended first, where there are
// too many.
func prune(state string) error {
	type machine struct {
		name  string
		ended time.Time
	}
	entries, err := os.ReadDir(filepath.Join(state, endedFolder))
	if err != nil {
		return fmt.Errorf("find machines that have ended: %w", err)
	}
	var machines []machine
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(state, endedFolder, entry.Name(), recordFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue // no machine of ours
		}
		if err != nil {
			return fmt.Errorf("find machines that have ended: %w", err)
		}
		machines = append(machines, machine{entry.Name(), info.ModTime()})
	}
	slices.SortFunc(machines, func(a, b machine) int {
		return cmp.Or(b.ended.Compare(a.ended), cmp.Compare(a.name, b.name))
	})
	for _, machine := range machines[min(len(machines), keptMachines):] {
		if err := os.RemoveAll(filepath.Join(state, endedFolder, machine.name)); err != nil {
			return fmt.Errorf("remove what is left of machine %s: %w", machine.name, err)
		}
	}
	return nil
}
