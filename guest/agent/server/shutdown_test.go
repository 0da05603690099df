package server

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
)

func TestShutdown(t *testing.T) {
	tests := []struct {
		signal  int32
		systemd bool
		want    syscall.Signal // 0 for none
		killErr error
		code    codes.Code
	}{
		{0, false, syscall.SIGTERM, nil, codes.OK},
		{0, true, 38, nil, codes.OK}, // SIGRTMIN+4
		{15, true, syscall.SIGTERM, nil, codes.OK},
		{9, false, syscall.SIGKILL, nil, codes.OK},
		{38, false, 38, nil, codes.OK},
		{64, false, 64, nil, codes.OK},
		{65, false, 0, nil, codes.InvalidArgument},
		{-1, true, 0, nil, codes.InvalidArgument},
		{0, false, syscall.SIGTERM, errors.New("x"), codes.Unknown},
	}
	for _, test := range tests {
		var pid int
		var got syscall.Signal
		file := filepath.Join(t.TempDir(), "shutdown.json")
		client := dial(t, Options{ShutdownFile: file, Systemd: test.systemd, Kill: func(p int, signal syscall.Signal) error {
			pid, got = p, signal
			return test.killErr
		}})
		_, err := client.Shutdown(limited(t), &guestpb.ShutdownRequest{Signal: test.signal})
		if status.Code(err) != test.code || got != test.want || (got != 0 && pid != 1) {
			t.Errorf("Shutdown(%d) sent %d to %d, %v, want %d to 1, code %v", test.signal, got, pid, err, test.want, test.code)
		}
		if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Shutdown(%d) left a note (%v), want none", test.signal, err)
		}
	}
}

func TestShutdownNote(t *testing.T) {
	tests := []struct {
		name    string
		req     *guestpb.ShutdownRequest
		inFile  bool // a file stands where the note's folder is to be
		killErr error
		want    *contract.ShutdownNote // nil for none
		signals int
		code    codes.Code
	}{
		{"both", &guestpb.ShutdownRequest{GraceSeconds: 7, Reason: "a \"b\"\n"}, false, nil, &contract.ShutdownNote{GraceSeconds: 7, Reason: "a \"b\"\n"}, 1, codes.OK},
		{"grace", &guestpb.ShutdownRequest{GraceSeconds: 1<<32 - 1}, false, nil, &contract.ShutdownNote{GraceSeconds: 1<<32 - 1}, 1, codes.OK},
		{"reason", &guestpb.ShutdownRequest{Signal: 9, Reason: "x"}, false, nil, &contract.ShutdownNote{Reason: "x"}, 1, codes.OK},
		{"long reason", &guestpb.ShutdownRequest{Reason: strings.Repeat("x", maxReason+1)}, false, nil, nil, 0, codes.InvalidArgument},
		{"no folder", &guestpb.ShutdownRequest{Reason: "x"}, true, nil, nil, 0, codes.Unknown},
		{"no signal", &guestpb.ShutdownRequest{Reason: "x"}, false, errors.New("x"), nil, 1, codes.Unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			if test.inFile {
				if err := os.WriteFile(dir, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, "shutdown.json")
			var signals int
			var seen []byte // when the signal came
			var seenErr error
			client := dial(t, Options{ShutdownFile: file, Kill: func(int, syscall.Signal) error {
				signals++
				seen, seenErr = os.ReadFile(file)
				return test.killErr
			}})
			if _, err := client.Shutdown(limited(t), test.req); status.Code(err) != test.code {
				t.Errorf("got error %v, want code %v", err, test.code)
			}
			if signals != test.signals {
				t.Errorf("sent %d signals, want %d", signals, test.signals)
			}
			if test.want == nil {
				if _, err := os.Lstat(file); err == nil {
					t.Error("a note is left, want none")
				}
				return
			}
			var got contract.ShutdownNote
			if err := errors.Join(seenErr, json.Unmarshal(seen, &got)); err != nil || got != *test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, *test.want)
			}
			info, err := os.Stat(file)
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("got %v, %v, want a file of mode 0600", info, err)
			}
			if names, err := os.ReadDir(dir); len(names) != 1 || err != nil {
				t.Errorf("got %v, %v, want the note alone", names, err)
			}
		})
	}
}
