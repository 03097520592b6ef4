//go:build unix

package main

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
)

// proxy stands between a node's listener and the server, and is the network that breaks.
type proxy struct {
	listener net.Listener
	server   string
	swallow  atomic.Bool // loses every byte, in both directions, and keeps connections open

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// newProxy returns a proxy and dsn with its address in the place of the server's.
func newProxy(dsn string) (*proxy, string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	p := &proxy{listener: listener, server: u.Host, conns: map[net.Conn]bool{}}
	u.Host = listener.Addr().String()
	go p.serve()
	return p, u.String(), nil
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		hangUp := sync.OnceFunc(func() {
			_ = client.Close()
			_ = server.Close()
			p.mu.Lock()
			delete(p.conns, client)
			delete(p.conns, server)
			p.mu.Unlock()
		})
		go p.copy(server, client, hangUp)
		go p.copy(client, server, hangUp)
	}
}

func (p *proxy) copy(to io.Writer, from io.Reader, hangUp func()) {
	defer hangUp()
	buf := make([]byte, 64<<10)
	for lost := false; ; {
		n, err := from.Read(buf)
		// TCP passes nothing that comes behind what was lost.
		if lost = lost || n > 0 && p.swallow.Load(); n > 0 && !lost {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut closes all connections; new ones come through.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
}
