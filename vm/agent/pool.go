package agent

import "sync"

// Pool gives all calls of a process to one guest the same connection. Its zero
// value is empty and ready for use. It is safe for concurrent use.
type Pool struct {
	mu      sync.Mutex
	clients map[poolKey]*pooled
}

type poolKey struct{ socketPath, token string }

// pooled is a client and how many have not released it.
type pooled struct {
	client *Client
	users  int
}

// Get returns the client of the agent behind a hybrid vsock socket, as
// NewHybridClient does, shared with all who have it and have not released it.
// Release takes the place of the client's Close, of which it gives the error
// where it is the last; calling it again does nothing.
//
// A machine that is started again under the same path is another one: its users
// reconnect.
func (p *Pool) Get(socketPath string, options ...Option) (client *Client, release func() error, err error) {
	key := poolKey{socketPath, token(options)}
	p.mu.Lock()
	defer p.mu.Unlock()
	shared := p.clients[key]
	if shared == nil {
		client, err := NewHybridClient(socketPath, options...)
		if err != nil {
			return nil, nil, err
		}
		shared = &pooled{client: client}
		if p.clients == nil {
			p.clients = map[poolKey]*pooled{}
		}
		p.clients[key] = shared
	}
	shared.users++
	return shared.client, sync.OnceValue(func() error { return p.release(key, shared) }), nil
}

func (p *Pool) release(key poolKey, shared *pooled) error {
	p.mu.Lock()
	shared.users--
	last := shared.users == 0
	if last {
		delete(p.clients, key)
	}
	p.mu.Unlock()
	if !last {
		return nil
	}
	return shared.client.Close()
}
