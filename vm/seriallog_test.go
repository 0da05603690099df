package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// openLog opens a log and closes it at the end of the test.
func openLog(t *testing.T, path string, limit int64) *SerialLog {
	t.Helper()
	log, err := OpenSerialLog(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return log
}

// contents are the rotated file and the current one, "" where there is none.
func contents(t *testing.T, path string) [2]string {
	t.Helper()
	var files [2]string
	for i, name := range []string{path + ".1", path} {
		data, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		files[i] = string(data)
	}
	return files
}

func TestSerialLog(t *testing.T) {
	tests := []struct {
		name   string
		writes []string
		want   [2]string // for a limit of 20
	}{
		{"empty", []string{""}, [2]string{"", ""}},
		{"half", []string{"123456789\n"}, [2]string{"", "123456789\n"}},
		{"next line", []string{"123456789\n", "a\n"}, [2]string{"123456789\n", "a\n"}},
		{"new file behind a line", []string{"123\n", "abc\ndefghi\n"}, [2]string{"123\nabc\n", "defghi\n"}},
		{"line without room", []string{"123456\n", "abcdef\n"}, [2]string{"123456\nabc", "def\n"}},
		{"long line", []string{strings.Repeat("x", 25) + "\n"}, [2]string{strings.Repeat("x", 10), "xxxxx\n"}},
		{"many", []string{"1\n2\n3\n4\n5\n6\n7\n8\n9\na\nb\nc\nd\n"}, [2]string{"6\n7\n8\n9\na\n", "b\nc\nd\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "serial.log")
			log := openLog(t, path, 20)
			for _, write := range test.writes {
				if n, err := log.Write([]byte(write)); n != len(write) || err != nil {
					t.Fatalf("Write(%q) = %d, %v", write, n, err)
				}
			}
			if diff := cmp.Diff(test.want, contents(t, path)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSerialLogReopen(t *testing.T) {
	tests := []struct {
		name         string
		log, rotated string
		want         [2]string // for a limit of 20
	}{
		{"appends", "123\n", "old\n", [2]string{"old\n", "123\nnew\n"}},
		{"full", "123456789\n", "", [2]string{"123456789\n", "new\n"}},
		{"larger than the limit", strings.Repeat("x", 30) + "123456789\n", strings.Repeat("y", 30), [2]string{"123456789\n", "new\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "serial.log")
			for name, content := range map[string]string{path: test.log, path + ".1": test.rotated} {
				if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			log := openLog(t, path, 20)
			if files := contents(t, path); len(files[0])+len(files[1]) > 20 {
				t.Errorf("after opening the log is %q, want at most 20 bytes", files)
			}
			if _, err := log.Write([]byte("new\n")); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, contents(t, path)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSerialLogFlood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial.log")
	log := openLog(t, path, 0)
	line := []byte(strings.Repeat("x", 99) + "\n")
	chunk := bytes.Repeat(line, 1000)
	const last = "HYPEMAN-EXIT code=3 message=\"exit code 3\"\n"
	for range 1000 {
		if _, err := log.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.Write([]byte(last)); err != nil {
		t.Fatal(err)
	}
	files := contents(t, path)
	total := len(files[0]) + len(files[1])
	if total > DefaultSerialLogSize || total < DefaultSerialLogSize/2 {
		t.Errorf("log has %d bytes, want half of %d to all of it", total, DefaultSerialLogSize)
	}
	if !strings.HasSuffix(files[1], last) {
		t.Error("newest line is not the last one")
	}
	if info, err := ReadExit(path); err != nil || info.Code != 3 {
		t.Errorf("ReadExit = %v, %v, want code 3", info, err)
	}
}

func TestSerialLogConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial.log")
	log := openLog(t, path, 1<<20)
	const writers, lines = 8, 500
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range lines {
				if _, err := fmt.Fprintf(log, "writer %d line %d\n", w, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]int{}
	for line := range strings.Lines(contents(t, path)[1]) {
		seen[line]++
	}
	want := map[string]int{}
	for w := range writers {
		for i := range lines {
			want[fmt.Sprintf("writer %d line %d\n", w, i)] = 1
		}
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestSerialLogErrors(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		log := openLog(t, filepath.Join(t.TempDir(), "serial.log"), 20)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := log.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrClosed) {
			t.Errorf("Write after Close = %d, %v, want %v", n, err, os.ErrClosed)
		}
	})
	t.Run("cannot rotate", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "serial.log")
		log, err := OpenSerialLog(path, 20)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path+".1", 0o700); err != nil {
			t.Fatal(err)
		}
		n, err := log.Write([]byte(strings.Repeat("x", 15)))
		if n != 10 || err == nil {
			t.Errorf("Write = %d, %v, want 10 and an error", n, err)
		}
		if n, again := log.Write([]byte("x")); n != 0 || again == nil {
			t.Errorf("second Write = %d, %v, want 0 and an error", n, again)
		}
		if err := log.Close(); err == nil {
			t.Error("Close gives no error")
		}
	})
	t.Run("no directory", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "missing", "serial.log")
		if _, err := OpenSerialLog(path, 0); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got error %v, want %v", err, os.ErrNotExist)
		}
	})
	t.Run("limit", func(t *testing.T) {
		for _, limit := range []int64{-1, 1} {
			if _, err := OpenSerialLog(filepath.Join(t.TempDir(), "serial.log"), limit); err == nil {
				t.Errorf("limit %d: got no error", limit)
			}
		}
	})
}
