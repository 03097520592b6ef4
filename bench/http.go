package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-926035fd/authz"
)

// The names of the servers.
const (
	byMiddleware = "authz"
	byHand       = "by hand"
	byNothing    = "no check"
	bySockets    = "sockets"
)

const httpCallers = 32

// openHTTP measures servers of their own on the loopback, 32 connections to each
// that are kept alive, one request on the way on each.
func openHTTP(d *data, o options) (b *backend, err error) {
	var site site
	defer func() {
		if err != nil {
			site.close()
		}
	}()
	m, closeManager, err := cachedManager(d)
	if err != nil {
		return nil, err
	}
	site.closers = append(site.closers, closeManager)
	f, err := newFloor(d)
	if err != nil {
		return nil, err
	}
	middleware, err := authz.NewMiddleware(m, authz.MiddlewareConfig{})
	if err != nil {
		return nil, err
	}

	var hellos []subject
	for _, server := range []struct {
		name    string
		handler http.Handler // nil for none: sockets alone
	}{
		{byMiddleware, middleware(http.HandlerFunc(hello))},
		{byHand, checkByHand(f, http.HandlerFunc(hello))},
		{byNothing, http.HandlerFunc(hello)},
		{bySockets, nil},
	} {
		addr, err := site.serve(server.handler)
		if err != nil {
			return nil, err
		}
		conns, err := site.dial(addr, httpCallers)
		if err != nil {
			return nil, err
		}
		if server.handler != nil && server.name != byNothing {
			if err := refuses(addr); err != nil {
				return nil, fmt.Errorf("%s: %w", server.name, err)
			}
		}
		hellos = append(hellos, subject{name: server.name, op: func(_ context.Context, w *worker) error {
			return conns[w.id].get(d.tokens[w.rng.IntN(len(d.tokens))])
		}})
	}
	handler, err := authz.NewHandler(m, authz.HandlerConfig{Authenticator: hostUsers()})
	if err != nil {
		return nil, err
	}
	puts, err := putSubjects(&site, d, handler)
	if err != nil {
		return nil, err
	}
	introspections, hydra, err := introspectSubjects(&site, d, handler, o)
	if err != nil {
		return nil, err
	}
	return &backend{
		about: "net/http on the loopback. GET of “hello” with a Bearer token: behind authz's middleware, behind SHA-256 and a map written by hand, and with no check; " +
			"“sockets” answers without HTTP: half of what it takes is the client's, which every row holds. " +
			"PUT: the API's get-or-create of an existing one, for a host whose users have a password that is only compared, beside a handler that decodes the same JSON and encodes the same answer. " +
			"Whose token it is: the middleware in a process, beside introspection (RFC 7662) by POST, of authz and of " + hydra,
		ratio: "authz ÷ it",
		cases: []*benchCase{
			{name: "hello", callers: httpCallers, base: true, inverse: true, subjects: hellos},
			{name: "put", callers: httpCallers, base: true, inverse: true, subjects: puts},
			{name: "introspect", callers: httpCallers, base: true, inverse: true, subjects: append(hellos[:1:1], introspections...)},
		},
		close: site.close,
	}, nil
}

// site is a number of servers, with those who ask them.
type site struct{ closers []func() }

func (s *site) close() {
	for _, c := range slices.Backward(s.closers) {
		c()
	}
}

// serve starts a server and returns where it listens.
func (s *site) serve(h http.Handler) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	if h == nil {
		s.closers = append(s.closers, func() { _ = l.Close() })
		go serveSockets(l)
		return l.Addr().String(), nil
	}
	server := &http.Server{Handler: h}
	s.closers = append(s.closers, func() { _ = server.Close() })
	go server.Serve(l)
	return l.Addr().String(), nil
}

func (s *site) dial(addr string, n int) ([]*httpConn, error) {
	conns := make([]*httpConn, n)
	for i := range conns {
		var err error
		if conns[i], err = dial(addr); err != nil {
			return nil, err
		}
		s.closers = append(s.closers, func() { _ = conns[i].c.Close() })
	}
	return conns, nil
}

// checkByHand is the least: it tells the handler nothing.
func checkByHand(f *floor, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r)
		if !ok || f.verify(token) == nil {
			unauthorized(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func bearer(r *http.Request) (token string, ok bool) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
}

const (
	helloType = "text/plain; charset=utf-8"
	helloBody = "hello\n"
)

func hello(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = []string{helloType}
	_, _ = io.WriteString(w, helloBody)
}

var endOfHead = []byte("\r\n\r\n")

// serveSockets answers what is about as long as the other servers' answers.
func serveSockets(l net.Listener) {
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s",
		helloType, len(helloBody), helloBody)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf, n := make([]byte, 4096), 0
			for {
				read, err := c.Read(buf[n:])
				if err != nil {
					return
				}
				if n += read; !bytes.HasSuffix(buf[:n], endOfHead) {
					continue
				}
				n = 0
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// httpConn is a client that costs little beside the server: it writes one
// buffer, reads one answer and takes nothing of it apart.
type httpConn struct {
	c   net.Conn
	req []byte
	at  int // where the token stands in req
	buf [4096]byte
}

func dial(addr string) (*httpConn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	h := &httpConn{c: c}
	h.req = append(h.req, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nAccept: */*\r\nAuthorization: Bearer "...)
	h.at = len(h.req)
	h.req = append(h.req, make([]byte, tokenSize)...)
	h.req = append(h.req, endOfHead...)
	return h, nil
}

// get expects hello.
func (h *httpConn) get(token string) error {
	copy(h.req[h.at:h.at+tokenSize], token)
	if _, err := h.c.Write(h.req); err != nil {
		return err
	}
	const status, end = "HTTP/1.1 200 ", "\r\n\r\n" + helloBody
	for n := 0; ; {
		read, err := h.c.Read(h.buf[n:])
		if err != nil {
			return err
		}
		n += read
		got := h.buf[:n]
		if n >= len(status) && string(got[:len(status)]) != status {
			return fmt.Errorf("answer %q", got)
		}
		if n >= len(end) && string(got[n-len(end):]) == end {
			return nil
		}
	}
}

// ask sends any request and returns the answer's body, which is valid until the
// next one. The answer must be 200 or 201, and say how long it is.
func (h *httpConn) ask(req []byte) ([]byte, error) {
	if _, err := h.c.Write(req); err != nil {
		return nil, err
	}
	const status, length = "HTTP/1.1 20", "\r\nContent-Length: "
	for n, end, body := 0, 0, 0; ; {
		read, err := h.c.Read(h.buf[n:])
		if err != nil {
			return nil, err
		}
		n += read
		if end == 0 {
			head, _, whole := bytes.Cut(h.buf[:n], endOfHead)
			if !whole {
				continue
			}
			_, rest, ok := bytes.Cut(head, []byte(length))
			size, _, _ := bytes.Cut(rest, []byte("\r\n"))
			long, err := strconv.Atoi(string(size))
			if !ok || err != nil || !bytes.HasPrefix(head, []byte(status)) {
				return nil, fmt.Errorf("answer %q", h.buf[:n])
			}
			body = len(head) + len(endOfHead)
			end = body + long
		}
		if n >= end {
			return h.buf[body:end], nil
		}
	}
}

// refuses returns an error unless the server answers an unknown token with 401.
func refuses(addr string) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+addr, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("x", tokenSize))
	t := &http.Transport{DisableKeepAlives: true}
	res, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("an unknown token is answered %s", res.Status)
	}
	return nil
}
