// Rawvsock is an application for a guest: it moves bytes over vsock port 2300
// with nothing between, for a benchmark to compare with. A connection begins
// with one byte, which says what is to happen, and a size as 8 bytes, big end
// first. After 'i' so many bytes come in and one goes out; after 'o' so many go
// out; after 'x' true is run for each of so many bytes that come in, and one goes
// out when it has ended; 'q' ends the program.
//
// With the arguments call and a context ID, it calls the agent there instead.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"

	"github.com/mdlayher/vsock"
)

const (
	port      = 2300
	agentPort = 2222
)

func main() {
	if err := run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) == 3 && os.Args[1] == "call" {
		return call(os.Args[2])
	}
	listener, err := vsock.Listen(port, nil)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		quit, err := serve(conn)
		if err := conn.Close(); err != nil {
			return err
		}
		if quit || err != nil {
			return err
		}
	}
}

// call calls the agent of a machine as its host would, and tells what comes.
func call(contextID string) error {
	cid, err := strconv.ParseUint(contextID, 10, 32)
	if err != nil {
		return err
	}
	conn, err := vsock.Dial(uint32(cid), agentPort, nil)
	if err != nil {
		return err
	}
	// Its server speaks first, once it has heard this: RFC 9113, section 3.4.
	_, writeErr := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	answer, readErr := io.ReadAll(conn)
	if len(answer) > 0 {
		return fmt.Errorf("got %q, %v, %v", answer, writeErr, readErr)
	}
	fmt.Println("connected, closed without a byte")
	return conn.Close()
}

// buffer is as large as the agent's messages.
var buffer = make([]byte, 32<<10)

// plain hides what would move the bytes in larger parts.
type plain struct{ net.Conn }

func serve(conn net.Conn) (quit bool, err error) {
	request := make([]byte, 9)
	if _, err := io.ReadFull(conn, request); err != nil {
		return false, err
	}
	size := int64(binary.BigEndian.Uint64(request[1:]))
	switch request[0] {
	case 'i':
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(plain{conn}, size), buffer); err != nil {
			return false, err
		}
		_, err := conn.Write([]byte{0})
		return false, err
	case 'o':
		for ; size > 0; size -= int64(len(buffer)) {
			if _, err := conn.Write(buffer[:min(size, int64(len(buffer)))]); err != nil {
				return false, err
			}
		}
		return false, nil
	case 'x':
		return false, runEach(conn, size)
	case 'q':
		return true, nil
	default:
		return false, fmt.Errorf("unknown request %q", request[0])
	}
}

// runEach starts a program for every byte, which is the least that running a
// command takes.
func runEach(conn net.Conn, count int64) error {
	path, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	for what := make([]byte, 1); count > 0; count-- {
		if _, err := io.ReadFull(conn, what); err != nil {
			return err
		}
		if err := exec.Command(path).Run(); err != nil {
			return err
		}
		if _, err := conn.Write(what); err != nil {
			return err
		}
	}
	return nil
}
