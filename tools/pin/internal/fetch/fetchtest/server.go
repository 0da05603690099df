// Package fetchtest has servers that lie, break off and stall, and a clock on
// which that takes no time.
package fetchtest

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Noon is the time of all clocks.
var Noon = time.Date(2026, time.January, 2, 12, 0, 0, 0, time.UTC)

// stallTime is how long package fetch waits before it looks for a stall. Nothing
// else takes as long.
const stallTime = 30 * time.Second

// Clock is a fetch.Clock that does not wait, but for stalls, which come when a
// server says so.
type Clock struct {
	stall chan struct{}
	mu    sync.Mutex
	slept []time.Duration
}

// Now is Noon.
func (c *Clock) Now() time.Time { return Noon }

// Sleep writes down the time, or waits for a stall.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if d == stallTime {
		select {
		case <-c.stall:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept = append(c.slept, d)
	return nil
}

// Slept gives the times that a client waited before it tried again.
func (c *Clock) Slept() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slept
}

// Server answers requests one after the other, the last way for ever.
type Server struct {
	*httptest.Server
	Clock   *Clock
	answers []Answer
	mu      sync.Mutex
	ranges  []string
}

// Answer is a way to answer.
type Answer func(s *Server, w http.ResponseWriter, r *http.Request)

// NewServer makes a server that is still to be started.
func NewServer(t testing.TB, answers ...Answer) *Server {
	s := &Server{Clock: &Clock{stall: make(chan struct{})}, answers: answers}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return s
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	next := s.answers[min(len(s.ranges), len(s.answers)-1)]
	s.ranges = append(s.ranges, strings.TrimSpace(r.Header.Get("Range")+" "+r.Header.Get("If-Range")))
	s.mu.Unlock()
	next(s, w, r)
}

// Ranges gives the headers Range and If-Range of each request.
func (s *Server) Ranges() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ranges
}

// Content is what an honest server has.
var Content = strings.Repeat("0123456789", 10)

// With answers with a status, a body whose length it says, and header lines.
func With(code int, body string, header ...string) Answer {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		for _, line := range header {
			key, value, _ := strings.Cut(line, ": ")
			w.Header().Set(key, value)
		}
		w.WriteHeader(code)
		if _, err := io.WriteString(w, body); err != nil {
			return // the client goes when it does not like the header
		}
	}
}

// Whole answers honestly, without ranges.
var Whole = With(http.StatusOK, Content)

// CutAt breaks off behind n bytes of the content.
func CutAt(n int, header ...string) Answer {
	return With(http.StatusOK, Content[:n], append(header, fmt.Sprintf("Content-Length: %d", len(Content)))...)
}

// Rest answers with the bytes of the content from n on.
func Rest(n int, header ...string) Answer {
	contentRange := fmt.Sprintf("Content-Range: bytes %d-%d/%d", n, len(Content)-1, len(Content))
	return With(http.StatusPartialContent, Content[n:], append([]string{contentRange}, header...)...)
}

// Raw answers with bytes that a library would not send.
func Raw(text string) Answer {
	return func(_ *Server, w http.ResponseWriter, _ *http.Request) {
		conn := hijack(w)
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			panic(err)
		}
	}
}

// Reset resets the connection behind half of the content.
func Reset(_ *Server, w http.ResponseWriter, _ *http.Request) {
	conn := hijack(w)
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(Content), Content[:50]); err != nil {
		panic(err)
	}
	if err := conn.SetLinger(0); err != nil {
		panic(err)
	}
}

func hijack(w http.ResponseWriter) *net.TCPConn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn.(*net.TCPConn)
}

// StallAt sends n bytes of the content, and nothing more until the client goes.
func StallAt(n int) Answer {
	return func(s *Server, w http.ResponseWriter, r *http.Request) {
		if n > 0 {
			CutAt(n)(s, w, r)
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		}
		s.Clock.stall <- struct{}{}
		<-r.Context().Done()
	}
}

// Drip sends one byte each time that the client looks for a stall.
func Drip(s *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(len(Content)))
	for i := range Content {
		if _, err := io.WriteString(w, Content[i:i+1]); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case s.Clock.stall <- struct{}{}:
		case <-r.Context().Done():
			return
		}
	}
}

// Redirect sends the client elsewhere.
func Redirect(location string) Answer {
	return With(http.StatusFound, "", "Location: "+location)
}
