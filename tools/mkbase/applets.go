package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// appletsStart is how the list of applets begins: `[` and `[[` sort before all
// other names. The NUL in front ends the string before it.
var appletsStart = []byte("\x00[\x00[[\x00")

// minApplets is a number that every distribution's busybox exceeds by far.
const minApplets = 200

// applets finds the names of busybox's commands in the program's bytes. It has
// them as one sorted run of NUL-terminated strings, ended by an empty one
// (applet_names in include/applet_tables.h, made by applets/applet_tables.c).
// `busybox --list` would give the same, but the program may be for another
// machine than the one that builds.
func applets(busybox []byte) ([]string, error) {
	at := bytes.Index(busybox, appletsStart)
	if at < 0 {
		return nil, errors.New("the program has no list that starts with [ and [[")
	}
	list, _, found := bytes.Cut(busybox[at+1:], []byte("\x00\x00"))
	if !found {
		return nil, errors.New("the list has no end")
	}
	var names []string
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if i := bytes.IndexFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' }); i >= 0 {
			return nil, fmt.Errorf("the list has %.50q, which is not a name", name)
		}
		names = append(names, string(name))
	}
	if !slices.IsSorted(names) {
		return nil, errors.New("the list is not sorted")
	}
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		return nil, errors.New("the list has a name twice")
	}
	if len(names) < minApplets {
		return nil, fmt.Errorf("the list has %d names, fewer than %d", len(names), minApplets)
	}
	for _, name := range []string{"sh", "mount", "echo"} {
		if _, ok := slices.BinarySearch(names, name); !ok {
			return nil, fmt.Errorf("the list has no %s", name)
		}
	}
	return names, nil
}
