//go:build vm

package squashfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnsquashfs has the reader of squashfs-tools tell what is in the images.
// It asks for a pseudo file, which has all metadata and contents in one stream:
// nothing depends on the rights and the file system of who runs the test.
func TestUnsquashfs(t *testing.T) {
	unsquashfs, err := exec.LookPath("unsquashfs")
	if err != nil {
		t.Fatalf("find unsquashfs: %v; install the package squashfs-tools", err)
	}
	for _, test := range trees {
		t.Run(test.name, func(t *testing.T) {
			tree := fill(t, test.fill)
			path := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(path, image(t, tree), 0o600); err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			cmd := exec.Command(unsquashfs, "-pf", "-", path)
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || stderr.Len() > 0 {
				t.Fatalf("unsquashfs -pf: %v\n%s", err, stderr.String())
			}
			if diff := cmp.Diff(describeTree(t, tree), describePseudo(t, out)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

// describePseudo is describeTree of a pseudo file, which mksquashfs(1)
// describes: a line "path type time mode uid gid ..." for a file, or "path L
// first" for another name of one, and the contents behind all lines.
func describePseudo(t *testing.T, out []byte) []string {
	t.Helper()
	head, data, _ := strings.Cut(string(out), "#\n# START OF DATA - DO NOT MODIFY\n#\n")
	files, names := map[string][]string{}, map[string][]string{}
	for line := range strings.Lines(head) {
		// A backslash stands before a space that is not the end of a field.
		fields := strings.Fields(strings.ReplaceAll(line, `\ `, "\x00"))
		for i := range fields {
			fields[i] = strings.ReplaceAll(fields[i], "\x00", " ")
		}
		path := strings.Trim(fields[0], "/")
		if fields[1] == "L" {
			names[fields[2]] = append(names[fields[2]], path)
			continue
		}
		files[path] = fields[1:]
		names[path] = append(names[path], path)
	}
	number := func(s string, base int) uint32 {
		n, err := strconv.ParseInt(s, base, 64) // large owners come as negative numbers
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	lines := map[string]string{}
	for file, fields := range files {
		kind, nlink, size, what := "dir", 0, 0, ""
		switch fields[0] {
		case "R":
			size = int(number(fields[5], 10))
			content := data[number(fields[6], 10):][:size]
			kind, nlink, what = "file", len(names[file]), fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		case "S":
			kind, nlink, size, what = "link", len(names[file]), len(fields[5]), fields[5]
		}
		slices.Sort(names[file])
		for i, path := range names[file] {
			if i == 1 {
				what = "= /" + names[file][0]
			}
			lines[path] = describe(path, kind, number(fields[2], 8), number(fields[3], 10), number(fields[4], 10),
				number(fields[1], 10), nlink, size, what)
		}
	}
	var sorted []string
	for _, path := range slices.Sorted(maps.Keys(lines)) {
		sorted = append(sorted, lines[path])
	}
	return sorted
}
