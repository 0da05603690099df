package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	// dialTime and handshakeTime bound the two steps of DialHybrid. The hypeman
	// agent protocol gives them.
	dialTime      = 5 * time.Second
	handshakeTime = 5 * time.Second
	// maxReply bounds the reply to CONNECT, in bytes. The real one holds a port
	// number: "OK 4294967295\n".
	maxReply = 64
)

// HandshakeError tells that a hybrid vsock socket did not answer CONNECT with
// OK: the guest has no listener on the port, or the socket is no such socket.
type HandshakeError struct {
	Port  uint32 // that was asked for
	Reply string // what came instead, at most 64 bytes; may be empty
	Err   error  // what ended the reply before its line end, or nil
}

func (e *HandshakeError) Error() string {
	text := fmt.Sprintf("connect to vsock port %d: got reply %q, want OK", e.Port, e.Reply)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *HandshakeError) Unwrap() error { return e.Err }

// DialHybrid connects to a vsock port of a guest through the Unix socket of its
// hypervisor, as Cloud Hypervisor and Firecracker have it: "CONNECT port\n" is
// answered by "OK port\n", and what follows is the connection. Connecting and
// the handshake may take 5 s each, or less if the context ends before.
//
// Source: Cloud Hypervisor, docs/vsock.md; Firecracker, docs/vsock.md.
func DialHybrid(ctx context.Context, socketPath string, port uint32) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "unix", socketPath)
	if err != nil {
		return nil, fmt.Errorf("dial hybrid vsock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	// An I/O deadline would not notice that the context is cancelled.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = handshake(conn, port)
	if !stop() {
		err = fmt.Errorf("connect to vsock port %d: %w", port, context.Cause(ctx))
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func handshake(conn net.Conn, port uint32) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return &HandshakeError{Port: port, Err: err}
	}
	// Byte by byte, since those behind the line belong to whoever uses the
	// connection.
	var reply []byte
	for b := make([]byte, 1); len(reply) < maxReply; reply = append(reply, b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			return &HandshakeError{Port: port, Reply: string(reply), Err: err}
		}
		if b[0] == '\n' && strings.HasPrefix(string(reply), "OK ") {
			return nil
		}
		if b[0] == '\n' {
			break
		}
	}
	return &HandshakeError{Port: port, Reply: string(reply)}
}
