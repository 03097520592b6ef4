package authz_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
)

// recordTo names a file that gets a line for each exchange with the handler.
// The module in conformance/ holds all of them against docs/openapi.yaml.
var recordTo = os.Getenv("AUTHZ_TEST_RECORD")

var recording sync.Mutex

// exchange is a line of that file.
type exchange struct {
	Test          string      `json:"test"`
	Method        string      `json:"method"`
	URL           string      `json:"url"`
	RequestHeader http.Header `json:"request_header"`
	RequestBody   string      `json:"request_body"`
	Status        int         `json:"status"`
	Header        http.Header `json:"header"`
	Body          string      `json:"body"`
}

// recorded wraps a handler, if a record is asked for.
func recorded(t testing.TB, h http.Handler) http.Handler {
	if recordTo == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := exchange{Test: t.Name(), Method: r.Method, URL: r.URL.String(), RequestHeader: r.Header.Clone()}
		var request bytes.Buffer
		if r.Body != nil {
			r = r.WithContext(r.Context())
			r.Body = teeBody{io.TeeReader(r.Body, &request), r.Body}
		}
		c := &capture{ResponseWriter: w}
		h.ServeHTTP(c, r)
		e.RequestBody, e.Status, e.Header, e.Body = request.String(), c.status, w.Header().Clone(), c.body.String()
		line, err := json.Marshal(e)
		if err != nil {
			t.Errorf("record: %v", err)
			return
		}
		recording.Lock()
		defer recording.Unlock()
		f, err := os.OpenFile(recordTo, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Errorf("record: %v", err)
			return
		}
		defer f.Close()
		if _, err := f.Write(append(line, '\n')); err != nil {
			t.Errorf("record: %v", err)
		}
	})
}

type teeBody struct {
	io.Reader
	io.Closer
}

// capture keeps what is written through it.
type capture struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *capture) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *capture) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *capture) Write(p []byte) (int, error) {
	c.body.Write(p)
	return c.ResponseWriter.Write(p)
}
