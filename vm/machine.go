package vm

import (
	"context"
	"path/filepath"
)

// Machine is a running machine, whichever hypervisor runs it.
type Machine interface {
	// Wait waits until the machine has powered off and Spec.Serial has all of its
	// output. A machine that resets has ended as well. After ctx's end Wait kills
	// it.
	Wait(ctx context.Context) error
	// Kill ends the machine at once, as pulling its plug would.
	Kill() error
}

// Vsock is the path of the Unix socket in a machine's folder that speaks the
// hybrid vsock protocol: CONNECT port, OK.
func Vsock(dir string) string {
	return filepath.Join(dir, "vsock.sock")
}
