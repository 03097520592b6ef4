package postgres_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between a client and PostgreSQL and breaks the network in the
// ways that networks break.
type proxy struct {
	listener net.Listener
	server   string

	// left is how many more bytes of the server's answers come through before
	// their connection is cut; negative: all.
	left atomic.Int64
	// cuts counts the connections that were cut.
	cuts atomic.Int64
	// dialled counts the connections that clients have made, sent what came from
	// clients: a statement and its parameters at most times at once.
	dialled, sent atomic.Int64
	// swallow loses every byte, in both directions, and keeps the connections
	// open.
	swallow atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// newProxy returns a proxy and dsn with its address in the place of the
// server's.
func newProxy(t *testing.T, dsn string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the DSN is no URL")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, server: u.Host, conns: map[net.Conn]bool{}}
	p.left.Store(-1)
	go p.serve()
	t.Cleanup(func() {
		_ = listener.Close()
		p.closeAll()
	})
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.dialled.Add(1)
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
		go p.copy(server, client, false, hangUp)
		go p.copy(client, server, true, hangUp)
	}
}

func (p *proxy) copy(to io.Writer, from io.Reader, answers bool, hangUp func()) {
	defer hangUp()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if p.swallow.Load() {
			n = 0
		}
		if !answers {
			p.sent.Add(1)
		}
		cut := false
		if left := p.left.Load(); answers && n > 0 && left >= 0 {
			cut = int64(n) > left
			n = int(min(int64(n), left))
			p.left.Store(left - int64(n))
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if cut { // by FIN: hangUp closes without unread bytes on our side
			p.left.Store(-1)
			p.cuts.Add(1)
			return
		}
		if err != nil {
			return
		}
	}
}

// open makes the proxy pass bytes again, without those that it has lost: the
// connections that lost any stay silent.
func (p *proxy) open() { p.swallow.Store(false) }

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// eventually waits until ok, polling.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}
