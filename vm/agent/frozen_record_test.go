package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"

	"github.com/kindling-vm/kindling/guest/guestpb"
)

// record has a client make its calls to an old agent, and writes what one of
// both sent, a frame a line.
func record(t *testing.T, name, what string, calls func(context.Context, string) error, pick func(toServer, toClient *bytes.Buffer) *bytes.Buffer) {
	t.Helper()
	s := grpc.NewServer()
	guestpb.RegisterGuestServiceServer(s, oldAgent{})
	socket := serve(t, s)
	var toServer, toClient bytes.Buffer
	var wg sync.WaitGroup
	tap := serveConns(t, func(conn net.Conn) {
		guest, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		wg.Go(func() {
			_, err := io.Copy(conn, io.TeeReader(guest, &toClient))
			if err := errors.Join(ignoreReset(err), ignoreReset(conn.Close())); err != nil {
				t.Error(err)
			}
		})
		_, err = io.Copy(guest, io.TeeReader(conn, &toServer))
		if err := errors.Join(ignoreReset(err), ignoreReset(guest.Close())); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	if err := calls(limited(t), tap); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	text, err := format(pick(&toServer, &toClient).Bytes(), what)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// format makes frames readable: what is behind # is for people.
func format(data []byte, what string) ([]byte, error) {
	var text bytes.Buffer
	fmt.Fprintf(&text, "# HTTP/2: %s. %d bytes.\n", what, len(data))
	if preface, rest, found := bytes.Cut(data, []byte(http2.ClientPreface)); found && len(preface) == 0 {
		fmt.Fprintf(&text, "%x # preface\n", http2.ClientPreface)
		data = rest
	}
	framer := http2.NewFramer(io.Discard, bytes.NewReader(data))
	for len(data) > 0 {
		frame, err := framer.ReadFrame()
		if err != nil {
			return nil, err
		}
		header := frame.Header()
		size := 9 + int(header.Length)
		fmt.Fprintf(&text, "%x # %v\n", data[:size], header.Type)
		data = data[size:]
	}
	return text.Bytes(), nil
}
