package cloudhypervisor

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kindling-vm/kindling/vm"
)

// CommandLine is what starts the machine that Start starts, but without the API:
// the program's name and its arguments. The serial port is the program's standard
// input and output. A guest that resets boots once more; it is Wait that ends it
// otherwise. The error names a path that the program's options cannot express.
//
// The arguments are those of --help (cloud-hypervisor/src/main.rs and SYNTAX in
// vmm/src/config.rs of the program's sources). 50.1 and 51.0 are the first
// versions that know the disks' image_type.
func CommandLine(spec vm.Spec) ([]string, error) {
	if spec.UserNetwork {
		return nil, fmt.Errorf("write command line: %w", errUserNetwork)
	}
	args, err := configOf(spec).arguments()
	if err != nil {
		return nil, fmt.Errorf("write command line: %w", err)
	}
	return append([]string{Program}, args...), nil
}

// arguments are made from what the API gets, so that they say the same.
func (c vmConfig) arguments() ([]string, error) {
	// Behind = a value may begin with a hyphen.
	args := []string{
		"--kernel=" + c.Payload.Kernel,
		"--initramfs=" + c.Payload.Initramfs,
		"--cmdline=" + c.Payload.Cmdline,
		"--cpus", fmt.Sprintf("boot=%d,max=%d", c.CPUs.Boot, c.CPUs.Max),
		"--memory", fmt.Sprintf("size=%d", c.Memory.Size),
	}
	for _, arg := range args[:3] {
		if !isArgument(arg) {
			return nil, fmt.Errorf("%q is no UTF-8 text without NUL", arg)
		}
	}
	for i, disk := range c.Disks {
		path, err := option("path", disk.Path)
		if err != nil {
			return nil, fmt.Errorf("disk %d: %w", i, err)
		}
		// One option has all disks: not every version takes a second one.
		if i == 0 {
			args = append(args, "--disk")
		}
		args = append(args, path+",readonly="+toggle(disk.ReadOnly)+",image_type="+strings.ToLower(disk.Image))
	}
	for _, network := range c.Net {
		tap, err := option("tap", network.Tap)
		if err != nil {
			return nil, fmt.Errorf("network: %w", err)
		}
		args = append(args, "--net", tap+",mac="+network.MAC)
	}
	socket, err := option("socket", c.Vsock.Socket)
	if err != nil {
		return nil, fmt.Errorf("vsock: %w", err)
	}
	return append(args,
		"--vsock", "cid="+strconv.FormatUint(uint64(c.Vsock.CID), 10)+","+socket,
		// Modes have the API's names, in lower case.
		"--serial", strings.ToLower(c.Serial.Mode),
		"--console", strings.ToLower(c.Console.Mode)), nil
}

// option is one of the options within an argument. Commas would end it but for
// quotes. Versions differ in how a quote itself is written, in what brackets mean
// within quotes, and in whether spaces at the ends of a value stay
// (option_parser/src/lib.rs of the program's sources).
func option(name, value string) (string, error) {
	switch {
	case value == "":
		return "", fmt.Errorf("%s is empty", name)
	case !isArgument(value):
		return "", fmt.Errorf("%s %q is no UTF-8 text without NUL", name, value)
	case strings.ContainsAny(value, `"[]`):
		return "", fmt.Errorf("%s %q has a quote or a bracket, which %s's options cannot express", name, value, Program)
	case strings.TrimSpace(value) != value:
		return "", fmt.Errorf("%s %q has a space at an end, which %s's options cannot express", name, value, Program)
	case strings.Contains(value, ","):
		value = `"` + value + `"`
	}
	return name + "=" + value, nil
}

// isArgument tells whether the program can be given a text, which it takes as
// UTF-8 only.
func isArgument(text string) bool {
	return utf8.ValidString(text) && !strings.Contains(text, "\x00")
}

func toggle(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
