// Package systemd prepares an image whose own init is systemd, and hands PID 1
// over to it. PID 1 calls InstallAgent, or RemoveAgent when the host wants none,
// and InstallShutdown before the root switch or after it, and HandOver last.
//
// systemd runs the agent and, at the very end, the shutdown program, which is
// init again and tells the host how the machine ended. Of all that an image's
// systemd does in between, nothing is known here.
package systemd

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
)

const (
	environmentFile = "/etc/hypeman/env"
	unitFile        = "/etc/systemd/system/hypeman-agent.service"
	wantsLink       = "/etc/systemd/system/multi-user.target.wants/hypeman-agent.service"
	wantsTarget     = "../hypeman-agent.service"

	// shutdownFile is what systemd executes as PID 1 when all services have
	// ended (bootup(7), "System Manager Shutdown"). It must be on a file system
	// that stays: /run must be a mount before systemd starts, or it mounts its
	// own over it.
	shutdownFile = "/run/initramfs/shutdown"
)

// ShutdownProgram is the first argument of init when systemd executes it at the
// end; the second is the verb that End reads.
const ShutdownProgram = "/shutdown"

// defaultInit is for a config without a command.
const defaultInit = "/sbin/init"

// unit is the agent's. It logs to the journal, as a console is a bottleneck, and
// waits for no network, as it needs none.
const unit = `[Unit]
Description=Hypeman Guest Agent

[Service]
Type=simple
ExecStart=` + contract.AgentPath + `
EnvironmentFile=-` + environmentFile + `
Restart=always
RestartSec=3
StandardOutput=journal
StandardError=journal

[Install]
WantedBy=multi-user.target
`

// InstallAgent makes the agent a service with the environment, KEY=value pairs,
// whether an earlier boot has done so or not. Of the environment, which may have
// secrets, only root can read the file. A pair that such a file cannot have is an
// error, and the others are written all the same.
func InstallAgent(root *inroot.Root, environ []string) error {
	content, err := environment(environ)
	return errors.Join(
		err,
		root.ReplaceFile(environmentFile, []byte(content), 0o600),
		root.ReplaceFile(unitFile, []byte(unit), 0o644),
		root.ReplaceLink(wantsLink, wantsTarget),
	)
}

// RemoveAgent removes what an earlier boot has installed: systemd would go on
// starting an agent that is not there.
func RemoveAgent(root *inroot.Root) error {
	var problems []error
	for _, name := range []string{wantsLink, unitFile, environmentFile} {
		problems = append(problems, root.RemoveAll(name))
	}
	return errors.Join(problems...)
}

// InstallShutdown makes a program, a static one, that which ends the machine.
func InstallShutdown(root *inroot.Root, program []byte) error {
	return root.ReplaceFile(shutdownFile, program, 0o755)
}

// HandOver executes the image's init in place of this program. Like hypeman
// 0.0.7 it takes the first word of the command for a path. It returns only when
// that fails.
func HandOver(argv, environ []string) error {
	if len(argv) == 0 {
		argv = []string{defaultInit}
	}
	if err := unix.Exec(argv[0], argv, environ); err != nil {
		return fmt.Errorf("execute %s: %w", argv[0], err)
	}
	return nil
}

// End reads the verb that systemd gives to its shutdown program: what the host
// is told of the end, and what is left to do for reboot(2). Any verb but reboot
// powers off, halt too: there is nobody at a machine that has halted.
func End(args []string) (outcome contract.ExitInfo, command int) {
	if len(args) > 1 && args[1] == "reboot" {
		return contract.NewExitInfo(0), unix.LINUX_REBOOT_CMD_RESTART
	}
	return contract.NewExitInfo(0), unix.LINUX_REBOOT_CMD_POWER_OFF
}

// environment makes an environment file (EnvironmentFile= of systemd.exec(5)),
// which a shell can read as well.
func environment(environ []string) (string, error) {
	var content strings.Builder
	var problems []error
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		// systemd drops them without a word to anyone who could see it.
		if !isName(key) || !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			problems = append(problems, fmt.Errorf("variable %.64q cannot be in %s", key, environmentFile))
			continue
		}
		content.WriteString(key + "=" + quote(value) + "\n")
	}
	return content.String(), errors.Join(problems...)
}

// isName accepts POSIX's names of variables.
func isName(key string) bool {
	for i, char := range []byte(key) {
		letter := 'a' <= char|0x20 && char|0x20 <= 'z' || char == '_'
		if !letter && (i == 0 || char < '0' || char > '9') {
			return false
		}
	}
	return key != ""
}

// safe are the characters, beside letters and digits, of a word that needs no
// quotes.
const safe = "@%+=:,./_-"

// quote makes a value one word of a shell, byte for byte as hypeman 0.0.7 does:
// in single quotes unless all of it is safe, a single quote in double ones.
func quote(value string) string {
	isSafe := value != ""
	for _, char := range []byte(value) {
		letter := 'a' <= char|0x20 && char|0x20 <= 'z'
		isSafe = isSafe && (letter || '0' <= char && char <= '9' || strings.IndexByte(safe, char) >= 0)
	}
	if isSafe {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'"'"'`) + "'"
}
