package main

import (
	"log"
	"net"
	"sync"
	"sync/atomic"

	"github.com/mdlayher/vsock"

	"github.com/kindling-vm/kindling/guest/contract"
)

// maxConns bounds the connections at one time. A host has one or a few; each
// costs the agent about 100 KiB before it says anything.
const maxConns = 64

// isHost tells whether an address is the host's.
func isHost(addr net.Addr) bool {
	a, ok := addr.(*vsock.Addr)
	return ok && a != nil && a.ContextID == contract.HostCID
}

// hostListener accepts maxConns connections of the host. Others are closed
// before a byte of them is read: over vsock loopback, any process of the guest
// can reach the port.
type hostListener struct {
	net.Listener
	logger   *log.Logger
	strange  sync.Once
	tooMany  sync.Once
	refused  atomic.Uint64 // of others than the host
	accepted atomic.Int64  // that are open
}

func (l *hostListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		switch peer := conn.RemoteAddr(); {
		case !isHost(peer):
			l.refused.Add(1)
			l.refuse(&l.strange, conn, "and others than the host")
		case l.accepted.Add(1) > maxConns:
			l.accepted.Add(-1)
			l.refuse(&l.tooMany, conn, "and others while too many are open")
		default:
			return &hostConn{Conn: conn, listener: l}, nil
		}
	}
}

// refuse closes a connection, and tells so once: otherwise a process of the
// guest could fill the console.
func (l *hostListener) refuse(once *sync.Once, conn net.Conn, others string) {
	peer := conn.RemoteAddr()
	closeErr := conn.Close()
	once.Do(func() {
		l.logger.Printf("%s refuse connection from %v, %s from now on in silence", logTag, peer, others)
		if closeErr != nil {
			l.logger.Printf("%s close connection from %v: %v", logTag, peer, closeErr)
		}
	})
}

// hostConn is counted until it is closed.
type hostConn struct {
	net.Conn
	listener *hostListener
	once     sync.Once
}

func (c *hostConn) Close() error {
	c.once.Do(func() { c.listener.accepted.Add(-1) })
	return c.Conn.Close()
}
