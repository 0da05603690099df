package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindling-vm/kindling/guest/contract"
)

func TestReadExit(t *testing.T) {
	sentinel := contract.NewExitInfo(7).String() + "\r\n"
	filler := strings.Repeat("y", contract.ExitTail-1) + "\n"
	tests := []struct {
		name         string
		log, rotated string // "" for no file
		want         int    // -1 for ErrNoExit
	}{
		{"at the end", "boot\n" + sentinel, "", 7},
		{"other lines behind it", sentinel + "[    3.1] reboot: Power down\r\n", "", 7},
		{"last one wins", "HYPEMAN-EXIT code=0\n" + sentinel, "", 7},
		{"behind much else", strings.Repeat(filler, 100) + sentinel, "", 7},
		{"before the tail", sentinel + filler, "", -1},
		{"cut by the tail", sentinel + filler[len(sentinel)-1:], "", -1},
		{"just within the tail", "x" + sentinel + filler[len(sentinel):], "", 7},
		{"in the rotated file", "[    3.1] reboot: Power down\n", "old\n" + sentinel, 7},
		{"split by rotation", sentinel[5:], "old\n" + sentinel[:5], 7},
		{"rotated, then the new file is not there", "", sentinel, 7},
		{"newer than the rotated one", sentinel, "HYPEMAN-EXIT code=0\n", 7},
		{"too far back in the rotated file", "x\n", sentinel + filler, -1},
		{"none", "boot\n", "", -1},
		{"no file", "", "", -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "serial.log")
			for name, content := range map[string]string{path: test.log, path + ".1": test.rotated} {
				if content == "" {
					continue
				}
				if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := ReadExit(path)
			if test.want < 0 {
				if !errors.Is(err, ErrNoExit) {
					t.Errorf("got %v, error %v, want %v", got, err, ErrNoExit)
				}
				return
			}
			if err != nil || got.Code != test.want {
				t.Errorf("got %v, error %v, want code %d", got, err, test.want)
			}
		})
	}
}

func TestReadExitOfDirectory(t *testing.T) {
	if _, err := ReadExit(t.TempDir()); err == nil || errors.Is(err, ErrNoExit) {
		t.Errorf("got error %v, want another than %v", err, ErrNoExit)
	}
}
