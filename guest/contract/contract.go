// Package contract holds what the host and the guest must agree on byte for
// byte: the config disk's document, ports, paths, the exit sentinel and the log
// line. It is the hypeman 0.0.7 contract, so a hypeman host can boot our guest
// and our host can boot a hypeman guest.
//
// It is not a place for behaviour: nothing here opens a file or a socket.
package contract

import (
	"syscall"
	"time"
)

const (
	// AgentPort is the AF_VSOCK port on which the agent serves gRPC (h2c).
	AgentPort = 2222
	// HostCID is the context ID of the host, VMADDR_CID_HOST in
	// include/uapi/linux/vm_sockets.h.
	HostCID = 2

	// AgentProtocol names the agent protocol and its version, as an artifact
	// set's manifest does.
	AgentProtocol = "hypeman-0.0.7"

	// ConfigFile is the config document's path on the config disk.
	ConfigFile = "/config.json"
	// AgentPath is where the agent stands in the running guest's root.
	AgentPath = "/opt/hypeman/guest-agent"
	// AgentReadyFDEnv names the variable that tells the agent on which
	// inherited descriptor to write one byte once it listens.
	AgentReadyFDEnv = "HYPEMAN_AGENT_READY_FD"
	// AgentReadyMarker starts the agent's readiness message; ` ts=` and an
	// RFC 3339 time with nanoseconds follow.
	AgentReadyMarker = "HYPEMAN-AGENT-READY"
	// AgentReadyTimeout is how long an agent may take to listen.
	AgentReadyTimeout = 10 * time.Second
	// AgentListening is what hosts of version 0.0.7 wait for on the serial log.
	AgentListening = "[guest-agent] listening on vsock port 2222"
	// AgentReadyFileEnv names the variable that says in which file the agent
	// writes the time and a newline once it listens; AgentReadyFile is for none.
	AgentReadyFileEnv = "HYPEMAN_AGENT_READY_FILE"
	AgentReadyFile    = "/run/hypeman/guest-agent-ready"
	// AgentTokenFile holds the config's AgentToken, for root to read. Without
	// one there is no such file.
	AgentTokenFile = "/run/kindling/agent-token"
	// ShutdownFile holds the agent's ShutdownNote, for init to read when its
	// signal comes.
	ShutdownFile = "/run/kindling/shutdown.json"
	// RestoreGenerationFile holds a decimal number and a newline. After a restore
	// it is another one as soon as the kernel gives fresh randomness, so that
	// programs know to reseed generators of their own. Until the first there is no
	// such file.
	RestoreGenerationFile = "/run/kindling/restore-generation"
	// ProgramStartMarker starts init's message that the application is about
	// to start.
	ProgramStartMarker = "HYPEMAN-PROGRAM-START"

	// Interface is the guest's network interface.
	Interface = "eth0"

	// DefaultPath is the PATH of processes whose environment has none.
	DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// DefaultHome is the HOME of processes whose environment has none.
	DefaultHome = "/root"
)

// Disks of the guest, by the name that the kernel gives them in the order in
// which the host attaches them. Volumes follow from /dev/vdd.
const (
	RootDisk    = "/dev/vda" // image root file system, read-only
	OverlayDisk = "/dev/vdb" // ext4, read-write, kept over stop and start
	ConfigDisk  = "/dev/vdc" // ext4 with ConfigFile, read-only
)

// ForwardedSignals are what the application gets when PID 1 gets them. Hypeman
// 0.0.7 has not the last three.
var ForwardedSignals = []syscall.Signal{
	syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}

// DiskName is the name of the guest's disk number index, counted from 0: after
// /dev/vdz comes /dev/vdaa (virtblk_name_format of the kernel's
// drivers/block/virtio_blk.c).
func DiskName(index int) string {
	var letters string
	for ; index >= 0; index = index/26 - 1 {
		letters = string(rune('a'+index%26)) + letters
	}
	return "/dev/vd" + letters
}

// ShutdownNote is what the agent tells init of a shutdown beside the signal.
type ShutdownNote struct {
	GraceSeconds uint32 `json:"grace_seconds,omitempty"` // that processes may take to end; 0 is init's own time
	Reason       string `json:"reason,omitempty"`        // for the log
}
