package cloudhypervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
)

// maxAnswer bounds the body of an answer, in bytes. The longest describes a
// machine.
const maxAnswer = 1 << 20

// client speaks to the Cloud Hypervisor of a machine that this process or
// another one has started, by version 1 of the program's API
// (vmm/src/api/openapi/cloud-hypervisor.yaml of its sources).
type client struct {
	transport *http.Transport
}

// newClient makes a client for the machine in a folder. It connects when it is
// used.
func newClient(dir string) *client {
	socket := filepath.Join(dir, socketName)
	return &client{&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		// The program serves ten connections at a time.
		DisableKeepAlives:  true,
		DisableCompression: true,
	}}
}

// paused is what a machine does whose processors stand still (VmState of the
// API).
const paused = "Paused"

// version asks which version the program is.
func (c *client) version(ctx context.Context) (string, error) {
	var answer struct{ Version string }
	if err := c.get(ctx, "vmm.ping", &answer); err != nil {
		return "", err
	}
	if answer.Version == "" {
		return "", errors.New("call vmm.ping: answer has no version")
	}
	return answer.Version, nil
}

// state asks what the machine does.
func (c *client) state(ctx context.Context) (string, error) {
	var answer struct{ State string }
	if err := c.get(ctx, "vm.info", &answer); err != nil {
		return "", err
	}
	if answer.State == "" {
		return "", errors.New("call vm.info: answer has no state")
	}
	return answer.State, nil
}

// get asks for something.
func (c *client) get(ctx context.Context, name string, result any) error {
	body, err := c.call(ctx, http.MethodGet, name, nil, http.StatusOK)
	if err == nil {
		err = json.Unmarshal(body, result)
	}
	if err != nil {
		return fmt.Errorf("call %s: %w", name, err)
	}
	return nil
}

// put has something done, with what argument encodes as unless that is nil.
func (c *client) put(ctx context.Context, name string, argument any) error {
	var body []byte
	var err error
	if argument != nil {
		body, err = json.Marshal(argument)
	}
	if err == nil {
		_, err = c.call(ctx, http.MethodPut, name, body, http.StatusNoContent)
	}
	if err != nil {
		return fmt.Errorf("call %s: %w", name, err)
	}
	return nil
}

func (c *client) call(ctx context.Context, method, name string, body []byte, want int) (_ []byte, err error) {
	// The connection needs no host, but HTTP does.
	request, err := http.NewRequestWithContext(ctx, method, "http://localhost/api/v1/"+name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, cause(ctx, err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("answer has more than %d bytes", maxAnswer)
	case response.StatusCode != want:
		return nil, refusal(response.StatusCode, answer)
	}
	return answer, nil
}

// cause is why a connection failed.
func cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// refusal is an answer that is not the wanted one. Its body is a JSON list of
// errors, each the next one's effect, or text in older versions.
func refusal(code int, body []byte) error {
	// The program gives the number alone.
	status := fmt.Sprintf("%d %s", code, http.StatusText(code))
	text := strings.TrimSpace(string(body))
	var list []string
	if json.Unmarshal(body, &list) == nil {
		text = strings.Join(list, ": ")
	}
	if text == "" {
		return fmt.Errorf("got status %s", status)
	}
	return fmt.Errorf("got status %s: %s", status, text)
}
