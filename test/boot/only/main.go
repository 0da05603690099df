// Only is the one program of an image that has nothing else, not even folders.
// It tells what it is and exits with 3. With a number as its argument, it has so
// many children instead that end at once, some of which leave a burst of orphans,
// checks their exit codes, waits until init has reaped the orphans, and exits
// with 42.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Println("only me")
		os.Exit(3)
	}
	count, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	right := 0
	for i := range count {
		want := i * 7 % 256
		orphans := 0
		if i%100 == 0 {
			orphans = 32
		}
		child := fork(uintptr(want), orphans)
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(child, &status, 0, nil); err == nil && status.ExitStatus() == want {
			right++
		}
	}
	for tries := 1000; zombies() > 0; tries-- {
		if tries == 0 {
			fmt.Println("zombies stay")
			os.Exit(1)
		}
		syscall.Nanosleep(&syscall.Timespec{Nsec: 1e6}, nil)
	}
	fmt.Println(right, "right, no zombies")
	os.Exit(42)
}

// fork makes a child that ends with the code and leaves orphans behind. It does
// without another program to run, which would take most of the time. Between the
// calls the child must not do anything that needs Go's runtime.
//
//go:norace
func fork(code uintptr, orphans int) int {
	child, _, _ := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if child != 0 {
		return int(child)
	}
	for range orphans {
		if orphan, _, _ := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0); orphan == 0 {
			code = 5
			break
		}
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, code, 0, 0)
	}
}

func zombies() int {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return -1
	}
	found := 0
	for _, name := range names {
		if stat, err := os.ReadFile(name); err == nil && bytes.Contains(stat, []byte(") Z ")) {
			found++
		}
	}
	return found
}
