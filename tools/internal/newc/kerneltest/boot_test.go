//go:build vm

package kerneltest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bazelbuild/rules_go/go/runfiles"
)

const (
	// bootTimeout bounds the life of the machine, which takes a few seconds.
	bootTimeout = 2 * time.Minute
	// exitTimeout bounds how long QEMU may take to end when killed.
	exitTimeout = 5 * time.Second
)

// oops is what a kernel prints that fell over or refused the initrd.
var oops = regexp.MustCompile(`(Kernel panic|BUG: |Oops: |double fault|Initramfs unpacking failed)[^\r\n]*`)

// boot runs a machine on an initrd whose init is lister and gives what that
// found.
func boot(t *testing.T, initrd []byte) []File {
	t.Helper()
	kernel, err := runfiles.Rlocation("_main/system/kernel_x86_64")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(name, initrd, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), bootTimeout, fmt.Errorf("machine ran for %v", bootTimeout))
	defer cancel()
	var serial, said bytes.Buffer
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-machine", "q35", "-m", "256M", "-smp", "1", "-serial", "stdio",
		"-kernel", kernel, "-initrd", name, "-append", "console=ttyS0 quiet loglevel=1 panic=-1")
	qemu.Stdout, qemu.Stderr, qemu.WaitDelay = &serial, &said, exitTimeout
	start := time.Now()
	err = qemu.Run()
	if found := oops.Find(serial.Bytes()); found != nil {
		t.Fatalf("the kernel fell over: %s\nend of the serial output:\n%s", found, end(serial.Bytes()))
	}
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		t.Fatalf("run machine: %v: %s\nend of the serial output:\n%s", err, said.Bytes(), end(serial.Bytes()))
	}
	files, err := parse(serial.String())
	if err != nil {
		t.Fatalf("read serial output: %v; it ends:\n%s", err, end(serial.Bytes()))
	}
	t.Logf("%d files from %d bytes in %v", len(files), len(initrd), time.Since(start))
	return files
}

func end(serial []byte) []byte {
	return serial[max(0, len(serial)-4<<10):]
}

// parse reads what lister printed, all of it.
func parse(serial string) ([]File, error) {
	_, listing, found := strings.Cut(strings.ReplaceAll(serial, "\r\n", "\n"), Begin+"\n")
	if !found {
		return nil, fmt.Errorf("no %q", Begin)
	}
	listing, count, found := strings.Cut(listing, "\n"+End)
	if !found {
		return nil, fmt.Errorf("no %q", End)
	}
	count, _, _ = strings.Cut(count, "\n") // the kernel says that it powers off
	var files []File
	for line := range strings.SplitSeq(listing, "\n") {
		var file File
		if err := json.Unmarshal([]byte(line), &file); err != nil {
			return nil, fmt.Errorf("read line %q: %w", line, err)
		}
		files = append(files, file)
	}
	if count != strconv.Itoa(len(files)) {
		return nil, fmt.Errorf("%d files, want %q", len(files), count)
	}
	return files, nil
}
