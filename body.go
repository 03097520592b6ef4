package authz

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// readBody reads a request's body within its bounds.
func (h *handler) readBody(w *response, r *http.Request) ([]byte, error) {
	for _, encoding := range r.Header.Values("Content-Encoding") {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return nil, errEncoded
		}
	}
	if r.ContentLength > h.cfg.MaxBody {
		w.Header().Set("Connection", "close")
		return nil, errTooLarge
	}
	w.readDeadline(time.Now().Add(h.cfg.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, h.cfg.MaxBody))
	if err == nil {
		w.readDeadline(time.Time{})
		return body, nil
	}
	// Where the next request would begin is not known any more.
	w.Header().Set("Connection", "close")
	var (
		tooLarge *http.MaxBytesError
		network  net.Error
	)
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case errors.As(err, &network) && network.Timeout():
		return nil, errSlow
	}
	return nil, errNotJSON
}

// unread is the error of a body that nobody looks into, and that did not arrive
// whole or is too large. What it holds does not matter, nor how it is encoded.
func (w *response) unread() error {
	if errors.Is(w.bodyErr, errEncoded) {
		return nil
	}
	return w.bodyErr
}

// straysAfter reports whether a line end may follow the request's body. Old
// clients send one, the github package of npm among them, and net/http takes it
// for the next request, except after POST: a connection that is used again would
// answer every second request with 400. All of them are on Node, whose agent
// asks for keep-alive in so many words; clients that do not ask keep theirs.
func straysAfter(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ContentLength > 0 && r.Method != http.MethodPost &&
		strings.EqualFold(r.Header.Get("Connection"), "keep-alive")
}
