package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

func TestHelp(t *testing.T) {
	tests := []struct {
		file string
		args []string
	}{
		{"help.txt", []string{}},
		{"help.txt", []string{"--help"}},
		{"help.txt", []string{"help"}},
		{"help_run.txt", []string{"run", "--help"}},
		{"help_run.txt", []string{"help", "run"}},
		{"help_exec.txt", []string{"exec", "-h"}},
		{"help_cp.txt", []string{"cp", "-h"}},
		{"help_stat.txt", []string{"stat", "-h"}},
		{"help_stop.txt", []string{"stop", "--help"}},
		{"help_ps.txt", []string{"ps", "--help"}},
		{"help_logs.txt", []string{"logs", "--help"}},
		{"help_inspect.txt", []string{"inspect", "--help"}},
		{"help_rm.txt", []string{"rm", "--help"}},
	}
	for _, test := range tests {
		newHost(t)
		got := kindling(test.args...)
		if got.Code != 0 || got.Stderr != "" {
			t.Errorf("%q: got %+v, want code 0 and help on stdout", test.args, got)
		}
		path := filepath.Join("testdata", test.file)
		if *update {
			if err := os.WriteFile(path, []byte(got.Stdout), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.Stdout); diff != "" {
			t.Errorf("%q (-%s +got; go test ./cmd/kindling -update writes it):\n%s", test.args, path, diff)
		}
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"verb", nil, []string{"rnu"}, `unknown command "rnu" for "kindling"`},
		{"flag", nil, []string{"--nosuch"}, "unknown flag: --nosuch"},
		{"flag of run", nil, []string{"run", "--nosuch"}, "unknown flag: --nosuch"},
		{"flag without value", nil, []string{"run", "--name"}, "flag needs an argument: --name"},
		{"two images", nil, []string{"run", "echo", "hello"}, `want one image, got ["echo" "hello"]; the command goes behind --`},
		{"empty image", nil, []string{"run", "", "--", "true"}, "image has no name"},
		{"accel", nil, []string{"run", "--accel", "xen"}, `--accel is "xen", want auto, kvm or tcg`},
		{"memory", nil, []string{"run", "-m", "0"}, "--memory is 0, want at least 1"},
		{"memory with unit", nil, []string{"run", "-m", "1G"}, `invalid argument "1G" for "-m, --memory" flag: strconv.ParseInt: parsing "1G": invalid syntax`},
		{"cpus", nil, []string{"run", "--cpus", "-1"}, "--cpus is -1, want at least 1"},
		{"timeout", nil, []string{"run", "--timeout", "-1s"}, "--timeout is -1s, want a positive time"},
		{"name", nil, []string{"run", "--name", "../web"}, `machine name "../web": want 1 to 32 letters, digits, _, . or -, the first a letter or digit`},
		{"environment", map[string]string{"KINDLING_CPUS": "many"}, []string{"run"},
			`KINDLING_CPUS: invalid argument "many" for "--cpus" flag: strconv.ParseInt: parsing "many": invalid syntax`},
		{"value of environment", map[string]string{"KINDLING_CPUS": "0"}, []string{"run"}, "--cpus is 0, want at least 1"},
		{"net", nil, []string{"run", "--net", "tap"}, `--net is "tap", want user or none`},
		{"port without a network", nil, []string{"run", "--net", "none", "-p", "80:80"}, "--publish needs a network, but --net is none"},
		{"port", nil, []string{"run", "-p", "80"}, `--publish is "80", want [ADDRESS:]HOST:GUEST[/tcp] with an IPv4 address`},
		{"volume", nil, []string{"run", "-v", "data"}, `--volume is "data", want SOURCE:PATH[:ro|rw|overlay] with an absolute PATH`},
		{"variable of run", nil, []string{"run", "-e", "=x"}, `--env is "=x", want NAME=VALUE or NAME`},
		{"usage of a detached run", nil, []string{"run", "-d", "--cpus", "0"}, "--cpus is 0, want at least 1"},
		{"ps with a name", nil, []string{"ps", "web"}, `unknown command "web" for "kindling ps"`},
		{"format of ps", nil, []string{"ps", "-o", "yaml"}, `--output is "yaml", want table, json or id`},
		{"logs without machine", nil, []string{"logs"}, "accepts 1 arg(s), received 0"},
		{"logs with a name that none has", nil, []string{"logs", "a/b"},
			`machine name "a/b": want 1 to 32 letters, digits, _, . or -, the first a letter or digit`},
		{"tail", nil, []string{"logs", "-n", "-2", "web"}, "--tail is -2, want at least 0, or -1 for all"},
		{"inspect without machine", nil, []string{"inspect"}, "accepts 1 arg(s), received 0"},
		{"inspect with a name that none has", nil, []string{"inspect", ".."},
			`machine name "..": want 1 to 32 letters, digits, _, . or -, the first a letter or digit`},
		{"rm without machine", nil, []string{"rm"}, "got no machine, want VM..."},
		{"rm with a name that none has", nil, []string{"rm", "web", "../web"},
			`machine name "../web": want 1 to 32 letters, digits, _, . or -, the first a letter or digit`},
		{"exec without command", nil, []string{"exec", "web"}, `got ["web"], want VM -- COMMAND [ARG...]`},
		{"exec without command behind --", nil, []string{"exec", "web", "--"}, `got ["web"], want VM -- COMMAND [ARG...]`},
		{"exec without --", nil, []string{"exec", "web", "ps"}, `got ["web" "ps"], want VM -- COMMAND [ARG...]`},
		{"exec without machine", nil, []string{"exec", "--", "ps", "a"}, `got ["ps" "a"], want VM -- COMMAND [ARG...]`},
		{"exec in two machines", nil, []string{"exec", "web", "db", "--", "ps"}, `got ["web" "db" "ps"], want VM -- COMMAND [ARG...]`},
		{"exec with a name that none has", nil, []string{"exec", "../web", "--", "ps"},
			`machine name "../web": want 1 to 32 letters, digits, _, . or -, the first a letter or digit`},
		{"time of exec", nil, []string{"exec", "--timeout", "-1s", "web", "--", "ps"}, "--timeout is -1s, want a positive time"},
		{"variable without a name", nil, []string{"exec", "-e", "=x", "web", "--", "ps"}, `--env is "=x", want NAME=VALUE or NAME`},
		{"stop without machine", nil, []string{"stop"}, "got no machine, want VM..."},
		{"stop with a name that none has", nil, []string{"stop", "web", "a/b"},
			`machine name "a/b": want 1 to 32 letters, digits, _, . or -, the first a letter or digit`},
		{"time of stop", nil, []string{"stop", "-t", "-1", "web"}, "--time is -1, want at least 0"},
		{"time of stop with unit", nil, []string{"stop", "-t", "1s", "web"}, `invalid argument "1s" for "-t, --time" flag: strconv.ParseInt: parsing "1s": invalid syntax`},
		{"environment of exec", map[string]string{"KINDLING_INTERACTIVE": "perhaps"}, []string{"exec", "web", "--", "ps"},
			`KINDLING_INTERACTIVE: invalid argument "perhaps" for "-i, --interactive" flag: strconv.ParseBool: parsing "perhaps": invalid syntax`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			if diff := cmp.Diff(result{2, "", "kindling: " + test.want + "\n"}, kindling(test.args...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			h.requireReleased(t)
		})
	}
}

func TestCommandLineWinsOverEnvironment(t *testing.T) {
	newHost(t)
	t.Setenv("KINDLING_CPUS", "many")
	t.Setenv("KINDLING_MEMORY", "")
	t.Setenv("KINDLING_HELP", "true")
	t.Setenv(serialEnv, exited("hi\r\n", 0))
	if diff := cmp.Diff(result{0, "hi\n", ""}, kindling("run", "--cpus", "1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
