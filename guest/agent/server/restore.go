package server

import (
	"cmp"
	"sync"

	"github.com/kindling-vm/kindling/guest/agent/internal/clock"
	"github.com/kindling-vm/kindling/guest/agent/internal/identity"
	"github.com/kindling-vm/kindling/guest/agent/internal/random"
)

// copied is what a machine has in common with the machine that it is a copy of
// until its host says otherwise.
type copied struct {
	clock     *clock.Clock
	random    *random.Generator
	machineID identity.Files
	root      string // below which the image's files are

	reconfigure sync.Mutex // one change of the network at a time
}

func newCopied(o Options) *copied {
	return &copied{clock: cmp.Or(o.Clock, clock.System()), random: random.System(), machineID: identity.System(), root: "/"}
}
