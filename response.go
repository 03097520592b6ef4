package authz

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// response writes one answer and remembers what the log needs.
type response struct {
	http.ResponseWriter
	h       *handler
	r       *http.Request
	started time.Time
	id      string
	user    User       // who sent the request, or
	app     App        // which app, or neither
	body    []byte     // of the request, or
	bodyErr error      // why it could not be read
	form    url.Values // of endpoints that take one
	status  int
	err     error
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// readDeadline bounds reading from the client. Not every ResponseWriter can do
// it, and not every test needs it.
func (w *response) readDeadline(t time.Time) {
	_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

func (w *response) fail(err error) {
	w.err = err
	if w.status != 0 {
		return // a panic after the answer
	}
	status, body := w.h.answer(err, w.r, w.Header())
	body.DocumentationURL = w.h.cfg.DocumentationURL
	w.json(status, body)
}

// json writes v.
func (w *response) json(status int, v any) { w.write(status, contentJSON, encode(v)) }

// fresh writes v, or 304 if the client has it already (RFC 9110 section 13.1.2).
func (w *response) fresh(v any) { w.freshBody(contentJSON, encode(v)) }

func (w *response) freshBody(contentType string, body []byte) {
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", etag)
	if matches(w.r.Header.Values("If-None-Match"), etag) {
		w.empty(http.StatusNotModified)
		return
	}
	w.write(http.StatusOK, contentType, body)
}

// matches reports whether an If-None-Match header names the tag, by the weak
// comparison. Other tags may hold commas and stars: they are read as a whole.
func matches(header []string, etag string) bool {
	for _, line := range header {
		for line = strings.Trim(line, " \t,"); line != ""; line = strings.TrimLeft(line, " \t,") {
			if line == "*" {
				return true
			}
			tag := strings.TrimPrefix(line, "W/")
			end := strings.Index(tag[min(1, len(tag)):], `"`) + 2 // behind the closing quote
			if tag == "" || tag[0] != '"' || end < 2 {
				break // the rest is no list of tags
			}
			if tag[:end] == etag {
				return true
			}
			line = tag[end:]
		}
	}
	return false
}

const contentJSON = "application/json; charset=utf-8"

// encode lays v out as the seed document does.
func encode(v any) []byte {
	if v, ok := v.(laidOut); ok {
		l := layout{b: make([]byte, 0, 1024)}
		v.layOut(&l)
		return append(l.b, '\n')
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return body.Bytes()
}

func (w *response) write(status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.empty(status)
	if w.r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone hears nothing
	}
}

// empty writes the head of an answer.
func (w *response) empty(status int) {
	// net/http takes in what is left of the body before it sends the answer,
	// also where nobody wants one.
	w.readDeadline(time.Now().Add(w.h.cfg.BodyTimeout))
	w.Header().Set("Status", strconv.Itoa(status)+" "+http.StatusText(status))
	w.status = status
	w.WriteHeader(status)
}

// log writes the request's line. The path stays out: it can hold a token.
func (w *response) log(r *http.Request) {
	level := slog.LevelInfo
	// A client that hangs up ends its own request: no fault of this side.
	if w.err != nil && w.status >= 500 && !errors.Is(r.Context().Err(), context.Canceled) {
		level = slog.LevelError
	}
	if !w.h.cfg.Logger.Enabled(r.Context(), level) {
		return // nothing is gathered for nobody
	}
	attrs := []slog.Attr{
		slog.String("request_id", w.id),
		slog.String("method", r.Method),
		slog.String("route", r.Pattern),
		slog.Int("status", w.status),
		slog.Duration("duration", time.Since(w.started)),
	}
	if w.user.ID != "" {
		attrs = append(attrs, slog.String("user", w.user.ID))
	}
	if w.app.ClientID != "" {
		attrs = append(attrs, slog.String("client_id", w.app.ClientID))
	}
	if w.err != nil {
		attrs = append(attrs, slog.String("error", w.err.Error()))
	}
	w.h.cfg.Logger.LogAttrs(context.WithoutCancel(r.Context()), level, "authz request", attrs...)
}
