// Usual is an init of the usual kind, for a benchmark to compare with: a shell
// script has mounted the kernel's file systems before it, it waits for disks by
// sleeping, programs of the initrd mount, set up the network and unpack the
// kernel headers, one after the other, and the agent is copied. It boots the
// same disks as ours and does not handle what can go wrong.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
)

const (
	newRoot = "/overlay/newroot"
	// settle is how long such systems sleep for their disks.
	settle = 500 * time.Millisecond
)

func main() {
	exit := contract.NewExitInfo(0)
	if err := boot(); err != nil {
		exit = contract.ExitInfo{Code: contract.ExitBootFailed, Message: "boot failed: " + err.Error()}
	}
	log("entrypoint", exit.String())
	const drain = 1 // tcdrain(3) is TCSBRK with a non-zero argument
	if err := unix.IoctlSetInt(unix.Stdout, unix.TCSBRK, drain); err != nil {
		fmt.Printf("drain console: %v\n", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Printf("power off: %v\n", err)
	}
}

func log(phase, message string) {
	fmt.Print(contract.LogLine(time.Now(), contract.LevelInfo, phase, message))
}

// boot is the whole boot up to the end of the application.
func boot() error {
	if err := loadModules(); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll("/dev/pts", 0o755), os.MkdirAll("/dev/shm", 0o777|os.ModeSticky)); err != nil {
		return err
	}
	if err := runAll("/bin/mount -t devpts devpts /dev/pts", "/bin/mount -t cgroup2 cgroup2 /sys/fs/cgroup"); err != nil {
		return err
	}
	time.Sleep(settle)
	if err := mountRoot(); err != nil {
		return err
	}
	config, err := readConfig()
	if err != nil {
		return err
	}
	if config.NetworkEnabled {
		if err := startNetwork(config); err != nil {
			return err
		}
	}
	for _, volume := range config.VolumeMounts {
		target := newRoot + volume.Path
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := runAll("/bin/mount -t ext4 " + volume.Device + " " + target); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/proc", "/sys", "/sys/fs/cgroup", "/dev", "/dev/pts"} {
		if err := os.MkdirAll(newRoot+dir, 0o755); err != nil {
			return err
		}
		if err := runAll("/bin/mount --bind " + dir + " " + newRoot + dir); err != nil {
			return err
		}
	}
	if err := copyAgent(); err != nil {
		return err
	}
	if !config.SkipKernelHeaders {
		if err := unpackHeaders(); err != nil {
			return err
		}
	}
	return runApplication(config)
}

// runAll runs commands, whose words have no blanks, one after the other.
func runAll(commands ...string) error {
	for _, command := range commands {
		argv := strings.Fields(command)
		if output, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("run %s: %w: %s", command, err, output)
		}
	}
	return nil
}

// loadModules loads what the usual kernel has built in. For that reason it is the
// one thing that is not done by programs, which would take longer.
func loadModules() error {
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	list, err := os.ReadFile("/etc/modules")
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel with everything built in
	}
	if err != nil {
		return err
	}
	dir := filepath.Join("/lib/modules", release)
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	// The line of a module names it, and what it depends on in reverse order:
	// modules.dep(5).
	files := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		names := strings.Fields(strings.Replace(line, ":", " ", 1))
		if len(names) > 0 {
			name, _, _ := strings.Cut(filepath.Base(names[0]), ".")
			files[name] = names
		}
	}
	for _, name := range strings.Fields(string(list)) {
		for i := len(files[name]) - 1; i >= 0; i-- {
			if err := loadModule(filepath.Join(dir, files[name][i])); err != nil {
				return err
			}
		}
	}
	return nil
}

func loadModule(name string) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("load module %s: %w", name, err)
	}
	return nil
}

func kernelRelease() (string, error) {
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return "", fmt.Errorf("read kernel release: %w", err)
	}
	return unix.ByteSliceToString(uname.Release[:]), nil
}

func mountRoot() error {
	if err := errors.Join(os.MkdirAll("/lower", 0o755), os.MkdirAll("/overlay", 0o755)); err != nil {
		return err
	}
	if err := runAll(
		"/bin/mount -t ext4 -o ro "+contract.RootDisk+" /lower",
		"/bin/mount -t ext4 "+contract.OverlayDisk+" /overlay",
	); err != nil {
		return err
	}
	for _, dir := range []string{"/overlay/upper", "/overlay/work", newRoot} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return runAll("/bin/mount -t overlay -o lowerdir=/lower,upperdir=/overlay/upper,workdir=/overlay/work overlay " + newRoot)
}

func readConfig() (_ *contract.Config, err error) {
	const dir = "/mnt/config"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := runAll("/bin/mount -t ext4 -o ro " + contract.ConfigDisk + " " + dir); err != nil {
		return nil, err
	}
	file, err := os.Open(dir + contract.ConfigFile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return contract.ReadConfig(file)
}

func startNetwork(config *contract.Config) error {
	if err := runAll(
		"/sbin/ip link set lo up",
		"/sbin/ip addr add "+config.GuestIP+"/"+strconv.Itoa(config.GuestCIDR)+" dev "+contract.Interface,
		"/sbin/ip link set "+contract.Interface+" up",
		"/sbin/ip route add default via "+config.GuestGateway,
	); err != nil {
		return err
	}
	return os.WriteFile(newRoot+"/etc/resolv.conf", []byte("nameserver "+config.GuestDNS+"\n"), 0o644)
}

func copyAgent() error {
	program, err := os.ReadFile("/usr/local/bin/guest-agent")
	if err != nil {
		return err
	}
	target := newRoot + contract.AgentPath
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, program, 0o755)
}

func unpackHeaders() error {
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	dir := "/usr/src/linux-headers-" + release
	modules := newRoot + "/lib/modules/" + release
	if err := errors.Join(os.MkdirAll(newRoot+dir, 0o755), os.MkdirAll(modules, 0o755)); err != nil {
		return err
	}
	if err := runAll("/bin/tar -xzf /kernel-headers.tar.gz -C " + newRoot + dir); err != nil {
		return err
	}
	return os.Symlink(dir, modules+"/build")
}

// runApplication starts the agent and runs the application by a shell.
func runApplication(config *contract.Config) error {
	if err := errors.Join(unix.Chroot(newRoot), os.Chdir("/")); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	env := config.Environ(contract.DefaultHome)
	agent := exec.Command(contract.AgentPath)
	agent.Env, agent.Stdout, agent.Stderr = env, os.Stdout, os.Stderr
	if err := agent.Start(); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	words := []string{"exec"}
	for _, word := range config.Argv() {
		words = append(words, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	application := exec.Command("/bin/sh", "-c", strings.Join(words, " "))
	application.Env, application.Stdout, application.Stderr = env, os.Stdout, os.Stderr
	now := time.Now()
	fmt.Print(contract.LogLine(now, contract.LevelInfo, "entrypoint", contract.ProgramStartMarker+" ts="+now.Format(time.RFC3339Nano)+" mode=exec"))
	if err := application.Run(); err != nil {
		return fmt.Errorf("run application: %w", err)
	}
	return nil
}
