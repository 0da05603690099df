// Rawvsock is an application for a guest: it moves bytes over vsock port 2300
// with nothing between, for a benchmark to compare with. A connection begins
// with one byte, which says what is to happen, and a size as 8 bytes, big end
// first. After 'i' so many bytes come in and one goes out; after 'o' so many go
// out; 'q' ends the program.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/mdlayher/vsock"
)

const port = 2300

func main() {
	if err := run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run() error {
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
	case 'q':
		return true, nil
	default:
		return false, fmt.Errorf("unknown request %q", request[0])
	}
}
