// Package ext4test looks at ext4 images with e2fsprogs, which shares no code
// with what wrote them. A machine without e2fsprogs fails the test.
package ext4test

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Check fails the test unless e2fsck finds nothing to say about the image.
func Check(t *testing.T, image string) {
	t.Helper()
	out, err := command(t, "e2fsck", "-f", "-n", image).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck -fn %s: %v\n%s", image, err, out)
	}
}

// Debugfs runs one request of debugfs(8) and returns what it prints.
func Debugfs(t *testing.T, image, request string) string {
	t.Helper()
	cmd := command(t, "debugfs", "-R", request, image)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// debugfs exits with 0 whatever happens, and prints its version first.
	_, complaint, _ := strings.Cut(stderr.String(), "\n")
	if err != nil || complaint != "" {
		t.Fatalf("debugfs -R %q %s: %v\n%s", request, image, err, stderr.String())
	}
	return string(out)
}

// Stat is what debugfs says about a file.
type Stat struct {
	Type, Mode, UID, GID, Links string
	ModTime                     string // hexadecimal seconds
	Device, Target, Xattrs      string
}

// StatFile asks debugfs about a file.
func StatFile(t *testing.T, image, path string) Stat {
	t.Helper()
	out := Debugfs(t, image, `stat "`+path+`"`)
	find := func(pattern string) string {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(out); m != nil {
			return m[1]
		}
		return ""
	}
	s := Stat{
		Type: find(`Type: (.*?) +Mode:`), Mode: find(`Mode:  (\d+)`),
		UID: find(`User: +(\d+)`), GID: find(`Group: +(\d+)`), Links: find(`Links: (\d+)`),
		ModTime: find(`mtime: 0x([0-9a-f]+)`), Device: find(`Device major/minor number: (\S+)`),
	}
	if s.Type == "symlink" {
		s.Target = find(`Fast link dest: "(.*)"`)
		if s.Target == "" {
			s.Target = Debugfs(t, image, `cat "`+path+`"`)
		}
	}
	_, xattrs, _ := strings.Cut(out, "Extended attributes:\n")
	for _, behind := range []string{"Inode checksum:", "EXTENTS:", "BLOCKS:"} {
		xattrs, _, _ = strings.Cut(xattrs, behind)
	}
	s.Xattrs = strings.Join(strings.Fields(xattrs), " ")
	return s
}

// Names lists a directory, sorted as on disk, without "." and "..".
func Names(t *testing.T, image, dir string) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(Debugfs(t, image, "ls -p "+dir)) {
		// /inode/mode/uid/gid/name/size/, inode 0 for an unused entry
		fields := strings.Split(line, "/")
		if len(fields) > 5 && fields[1] != "0" && fields[5] != "." && fields[5] != ".." {
			names = append(names, fields[5])
		}
	}
	return names
}

func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("find %s: %v; install the package e2fsprogs, and have /usr/sbin in PATH", name, err)
	}
	return exec.Command(path, args...)
}
