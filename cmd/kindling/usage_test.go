package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsage(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"empty image", nil, []string{"run", "", "--", "true"}, "image has no name"},
		{"accel", nil, []string{"run", "--accel", "xen"}, `--accel is "xen", want auto, kvm or tcg`},
		{"memory", nil, []string{"run", "-m", "0"}, "--memory is 0, want at least 1"},
		{"memory with unit", nil, []string{"run", "-m", "1G"}, `invalid argument "1G" for "-m, --memory" flag: strconv.ParseInt: parsing "1G": invalid syntax`},
		{"cpus", nil, []string{"run", "--cpus", "-1"}, "--cpus is -1, want at least 1"},
		{"timeout", nil, []string{"run", "--timeout", "-1s"}, "--timeout is -1s, want a positive time"},
		{"environment", map[string]string{"KINDLING_CPUS": "many"}, []string{"run"},
			`KINDLING_CPUS: invalid argument "many" for "--cpus" flag: strconv.ParseInt: parsing "many": invalid syntax`},
		{"net", nil, []string{"run", "--net", "bridge"}, `--net is "bridge", want user, none or tap,ifname=NAME,ip=ADDRESS/BITS[,gateway=ADDRESS][,dns=ADDRESS][,mac=MAC]`},
		{"tap device", nil, []string{"run", "--net", "tap,ifname=tap0"},
			`--net is "tap,ifname=tap0", and ip is "", want an IPv4 address and the bits of its network, as 192.168.7.2/24`},
		{"hypervisor", nil, []string{"run", "--hypervisor", "xen"}, `--hypervisor is "xen", want auto, cloud-hypervisor or qemu`},
		{"emulation by Cloud Hypervisor", nil, []string{"run", "--hypervisor", "cloud-hypervisor", "--net", "none"},
			"--hypervisor is cloud-hypervisor, which cannot emulate; --accel tcg needs qemu"},
		{"user network by Cloud Hypervisor", nil, []string{"run", "--hypervisor", "cloud-hypervisor", "--accel", "kvm"},
			"--hypervisor is cloud-hypervisor, which has no user network; give --net tap,... or --net none, or use qemu"},
		{"port without a network", nil, []string{"run", "--net", "none", "-p", "80:80"}, "--publish needs --net user, but --net is none"},
		{"timeline", nil, []string{"run", "--timeline", "boot.png"}, `--timeline: file is "boot.png", want a name that ends in .svg or .json`},
		{"port", nil, []string{"run", "-p", "80"}, `--publish is "80", want [ADDRESS:]HOST:GUEST[/tcp] with an IPv4 address`},
		{"two sets", nil, []string{"run", "--set", "latest", "--kernel", "6.1"}, "--set and --kernel: want one of them"},
		{"two sets of the environment", map[string]string{"KINDLING_KERNEL": "6.1"}, []string{"run"}, "--artifacts and --kernel: want one of them"},
		{"set", nil, []string{"run", "--set", "newest"}, `artifact set "newest": want latest, or sha256: and 64 lower-case hexadecimal digits`},
		{"arch", nil, []string{"run", "--arch", "arm64"}, `--arch is "arm64", want x86_64 or aarch64`},
		{"arch without KVM", nil, []string{"run", "--arch", "aarch64", "--accel", "kvm"}, "--accel kvm runs guests for x86_64 only, and --arch is aarch64"},
		{"volume", nil, []string{"run", "-v", "data"}, `--volume is "data", want SOURCE:PATH[:ro|rw|overlay] with an absolute PATH`},
		{"variable of run", nil, []string{"run", "-e", "=x"}, `--env is "=x", want NAME=VALUE or NAME`},
		{"usage of a detached run", nil, []string{"run", "-d", "--cpus", "0"}, "--cpus is 0, want at least 1"},
		{"exec without command", nil, []string{"exec", "web"}, `got ["web"], want VM -- COMMAND [ARG...]`},
		{"exec without command behind --", nil, []string{"exec", "web", "--"}, `got ["web"], want VM -- COMMAND [ARG...]`},
		{"exec without machine", nil, []string{"exec", "--", "ps", "a"}, `got ["ps" "a"], want VM -- COMMAND [ARG...]`},
		{"exec in two machines", nil, []string{"exec", "web", "db", "--", "ps"}, `got ["web" "db" "ps"], want VM -- COMMAND [ARG...]`},
		{"variable without a name", nil, []string{"exec", "-e", "=x", "web", "--", "ps"}, `--env is "=x", want NAME=VALUE or NAME`},
		{"time of stop with unit", nil, []string{"stop", "-t", "1s", "web"}, `invalid argument "1s" for "-t, --time" flag: strconv.ParseInt: parsing "1s": invalid syntax`},
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
