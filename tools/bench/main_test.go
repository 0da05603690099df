package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsage(t *testing.T) {
	tests := []struct {
		name, want string
		args       []string
	}{
		{"no suite", "name a suite: agent, boot, build, edit, image or install", nil},
		{"unknown suite", `suite "speed" is unknown`, []string{"build", "speed"}},
		{"no rounds", "0 rounds are not enough", []string{"-n=0", "build"}},
		{"no folder", "suite build: make folder: ", []string{"-scratch=/nowhere", "build"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), test.args, "", &stdout, &stderr)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || stdout.Len() > 0 {
				t.Errorf("error %v with output %q, want %s", err, &stdout, test.want)
			}
		})
	}
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, "", &stdout, &stderr); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v, want %v", err, flag.ErrHelp)
	}
	if !strings.HasPrefix(stdout.String(), "usage: bench") || stderr.Len() > 0 {
		t.Errorf("usage on stdout is %q, on stderr %q", &stdout, &stderr)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	o := &options{json: filepath.Join(dir, "all.json"), chart: filepath.Join(dir, "chart.svg")}
	var stdout bytes.Buffer
	if err := write(exampleReport(), o, &stdout); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(o.json)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleReport(), &got, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("report read back (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(o.chart); err != nil || stdout.Len() == 0 {
		t.Errorf("chart: %v; %d bytes on stdout", err, stdout.Len())
	}
	o.json = filepath.Join(dir, "none", "all.json")
	if err := write(exampleReport(), o, &stdout); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
}
