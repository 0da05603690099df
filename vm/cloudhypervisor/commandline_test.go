package cloudhypervisor

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kindling-vm/kindling/vm"
)

// plainSpec is a machine as small as one can be.
func plainSpec() vm.Spec {
	return vm.Spec{
		Dir: "/m", Arch: "x86_64", Kernel: "/a/vmlinux", Initrd: "/a/initrd", Cmdline: "console=ttyS0 quiet",
		MemoryMiB: 512, CPUs: 1, CID: 3,
	}
}

func TestCommandLine(t *testing.T) {
	const (
		payload = "cloud-hypervisor|--kernel=/a/vmlinux|--initramfs=/a/initrd|--cmdline=console=ttyS0 quiet"
		size    = "|--cpus|boot=1,max=1|--memory|size=536870912"
		disks   = "|--disk|path=/m/root.ext4,readonly=on,image_type=raw|path=/m/overlay.raw,readonly=off,image_type=raw"
		vsock   = "|--vsock|cid=3,socket=/m/vsock.sock"
		serial  = "|--serial|tty|--console|off"
	)
	replaced := func(text string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(text) }
	twoDisks := []vm.Disk{{Path: "/m/root.ext4", ReadOnly: true}, {Path: "/m/overlay.raw"}}
	tests := []struct {
		name   string
		change func(*vm.Spec)
		want   string // with | between arguments
	}{
		{"no disks", func(*vm.Spec) {}, payload + size + vsock + serial},
		{"aarch64", func(s *vm.Spec) { s.Arch = "aarch64" }, payload + size + vsock + serial},
		{"size", func(s *vm.Spec) { s.MemoryMiB, s.CPUs, s.CID = 3<<20, 4, 1<<32-1 },
			payload + "|--cpus|boot=4,max=4|--memory|size=3298534883328" + replaced(vsock, "cid=3", "cid=4294967295") + serial},
		{"disks in order", func(s *vm.Spec) { s.Disks = twoDisks }, payload + size + disks + vsock + serial},
		{"tap device", func(s *vm.Spec) {
			s.Tap = &vm.Tap{Name: "tap0", MAC: net.HardwareAddr{2, 0, 10, 0, 0, 255}}
		}, payload + size + "|--net|tap=tap0,mac=02:00:0a:00:00:ff" + vsock + serial},
		{"payload as it is", func(s *vm.Spec) {
			s.Kernel, s.Initrd, s.Cmdline = `/a,b="c"/vmlinux`, "-initrd ", "-x console=ttyS0,115200 init='[x]'"
		}, replaced(payload, "/a/vmlinux", `/a,b="c"/vmlinux`, "/a/initrd", "-initrd ",
			"console=ttyS0 quiet", "-x console=ttyS0,115200 init='[x]'") + size + vsock + serial},
		{"empty kernel command line", func(s *vm.Spec) { s.Cmdline = "" },
			replaced(payload, "console=ttyS0 quiet", "") + size + vsock + serial},
		{"commas", func(s *vm.Spec) {
			s.Dir, s.Disks = "/m, n=1", []vm.Disk{{Path: "/m, n=1/root.ext4", ReadOnly: true}, {Path: "/m/o=é"}}
		}, payload + size + `|--disk|path="/m, n=1/root.ext4",readonly=on,image_type=raw|path=/m/o=é,readonly=off,image_type=raw` +
			`|--vsock|cid=3,socket="/m, n=1/vsock.sock"` + serial},
		{"all", func(s *vm.Spec) {
			s.Disks, s.Tap = twoDisks, &vm.Tap{Name: "tap0", MAC: net.HardwareAddr{2, 0, 10, 0, 0, 255}}
		}, payload + size + disks + "|--net|tap=tap0,mac=02:00:0a:00:00:ff" + vsock + serial},
	}
	for _, test := range tests {
		spec := plainSpec()
		test.change(&spec)
		got, err := CommandLine(spec)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(strings.Split(test.want, "|"), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		for _, version := range parsers {
			config, err := version.config(got)
			if err != nil {
				t.Errorf("%s, %s: %v", test.name, version.name, err)
			}
			if diff := cmp.Diff(configOf(spec), config); diff != "" {
				t.Errorf("%s, %s (-what the API gets +what the command line says):\n%s", test.name, version.name, diff)
			}
		}
	}
}

func TestCommandLineFails(t *testing.T) {
	const cannot = ", which cloud-hypervisor's options cannot express"
	tests := []struct {
		change func(*vm.Spec)
		want   string
	}{
		{func(s *vm.Spec) { s.UserNetwork = true }, "cloud-hypervisor has no user network; use a tap device or QEMU"},
		{func(s *vm.Spec) { s.Kernel = "/a\x00b" }, `"--kernel=/a\x00b" is no UTF-8 text without NUL`},
		{func(s *vm.Spec) { s.Initrd = "/a\xff" }, `"--initramfs=/a\xff" is no UTF-8 text without NUL`},
		{func(s *vm.Spec) { s.Cmdline = "\xff" }, `"--cmdline=\xff" is no UTF-8 text without NUL`},
		{func(s *vm.Spec) { s.Disks = []vm.Disk{{Path: "/a"}, {Path: `/"b"`}} },
			`disk 1: path "/\"b\"" has a quote or a bracket` + cannot},
		{func(s *vm.Spec) { s.Disks = []vm.Disk{{Path: "/a[1]"}} }, `disk 0: path "/a[1]" has a quote or a bracket` + cannot},
		{func(s *vm.Spec) { s.Disks = []vm.Disk{{Path: "/a "}} }, `disk 0: path "/a " has a space at an end` + cannot},
		{func(s *vm.Spec) { s.Disks = []vm.Disk{{}} }, "disk 0: path is empty"},
		{func(s *vm.Spec) { s.Disks = []vm.Disk{{Path: "/\xff"}} }, `disk 0: path "/\xff" is no UTF-8 text without NUL`},
		{func(s *vm.Spec) { s.Dir = "/m]" }, `vsock: socket "/m]/vsock.sock" has a quote or a bracket` + cannot},
		{func(s *vm.Spec) { s.Tap = &vm.Tap{Name: "["} }, `network: tap "[" has a quote or a bracket` + cannot},
	}
	for _, test := range tests {
		spec := plainSpec()
		test.change(&spec)
		got, err := CommandLine(spec)
		if got != nil || err == nil || err.Error() != "write command line: "+test.want {
			t.Errorf("got %q, error %v, want error %q", got, err, test.want)
		}
	}
}

// What is not refused reaches the machine as it is.
func FuzzCommandLine(f *testing.F) {
	f.Add("/m", "console=ttyS0")
	f.Add("/m, n=1", "-x")
	f.Add("/m\u00a0,", "")
	f.Fuzz(func(t *testing.T, path, cmdline string) {
		spec := plainSpec()
		spec.Dir, spec.Cmdline = "/"+path, cmdline
		spec.Disks = []vm.Disk{{Path: path, ReadOnly: true}, {Path: path}}
		args, err := CommandLine(spec)
		if err != nil {
			return
		}
		for _, version := range parsers {
			got, err := version.config(args)
			if err != nil {
				t.Errorf("%s: %v", version.name, err)
			}
			if diff := cmp.Diff(configOf(spec), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", version.name, diff)
			}
		}
	})
}

// parser reads a command line as a version of the program does, as far as
// machines of ours have to do with it. Any other option is an error.
type parser struct {
	name string
	// unquotesFirst says that quotes are gone before a value is trimmed, and that
	// brackets have a meaning within them.
	unquotesFirst bool
}

var parsers = []parser{{"51.0", true}, {"newer", false}}

func (p parser) config(args []string) (vmConfig, error) {
	config := vmConfig{}
	if args[0] != Program {
		return config, fmt.Errorf("program is %q", args[0])
	}
	option := ""
	for _, arg := range args[1:] {
		value := arg
		if strings.HasPrefix(arg, "-") {
			var ok bool
			if option, value, ok = strings.Cut(arg, "="); !ok {
				continue
			}
		}
		if err := p.set(&config, option, value); err != nil {
			return config, fmt.Errorf("%s %s: %w", option, value, err)
		}
	}
	return config, nil
}

// set does what main.rs and config.rs do with the value of an option.
func (p parser) set(config *vmConfig, option, value string) error {
	modes := map[string]string{"off": "Off", "tty": "Tty"}
	switch option {
	case "--kernel":
		config.Payload.Kernel = value
		return nil
	case "--initramfs":
		config.Payload.Initramfs = value
		return nil
	case "--cmdline":
		config.Payload.Cmdline = value
		return nil
	case "--serial":
		config.Serial.Mode = modes[value]
		return nil
	case "--console":
		config.Console.Mode = modes[value]
		return nil
	}
	options, err := p.options(value)
	if err != nil {
		return err
	}
	switch option {
	case "--cpus":
		return errors.Join(options.number("boot", &config.CPUs.Boot), options.number("max", &config.CPUs.Max), options.none())
	case "--memory":
		size := 0
		err := options.number("size", &size)
		config.Memory.Size = int64(size)
		return errors.Join(err, options.none())
	case "--disk":
		config.Disks = append(config.Disks, diskConfig{
			Path: options.take("path"), ReadOnly: map[string]bool{"on": true}[options.take("readonly")],
			Image: map[string]string{"raw": "Raw"}[options.take("image_type")],
		})
		return options.none()
	case "--net":
		config.Net = append(config.Net, netConfig{Tap: options.take("tap"), MAC: options.take("mac")})
		return options.none()
	case "--vsock":
		cid := 0
		err := options.number("cid", &cid)
		config.Vsock = vsockConfig{CID: uint32(cid), Socket: options.take("socket")}
		return errors.Join(err, options.none())
	default:
		return errors.New("unknown option")
	}
}

// options does what option_parser/src/lib.rs does.
func (p parser) options(text string) (options, error) {
	found := options{}
	add := func(part string) {
		name, value, _ := strings.Cut(part, "=")
		if p.unquotesFirst {
			value = strings.TrimSpace(strings.ReplaceAll(value, `"`, ""))
		} else {
			value = strings.ReplaceAll(strings.TrimSpace(value), `"`, "")
		}
		found[name] = value
	}
	text = strings.TrimSpace(text)
	start, brackets, quoted := 0, 0, false
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted && !p.unquotesFirst:
		case c == '[':
			brackets++
		case c == ']':
			if brackets--; brackets < 0 {
				return nil, errors.New("invalid syntax")
			}
		case c == ',' && brackets == 0 && !quoted:
			add(text[start:i])
			start = i + 1
		}
	}
	add(text[start:])
	if brackets != 0 || quoted {
		return nil, errors.New("invalid syntax")
	}
	return found, nil
}

// options are those within an argument that nobody has taken yet.
type options map[string]string

func (o options) take(name string) string {
	value := o[name]
	delete(o, name)
	return value
}

func (o options) number(name string, to *int) (err error) {
	*to, err = strconv.Atoi(o.take(name))
	return err
}

func (o options) none() error {
	if len(o) > 0 {
		return fmt.Errorf("unknown options: %v", o)
	}
	return nil
}
