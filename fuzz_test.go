package authz_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

// Whatever stands in the path behind the client_id comes back whole as the
// fingerprint, or is refused with 4xx.
func FuzzFingerprintPath(f *testing.F) {
	for _, s := range []string{
		"a", "a%2Fb", "..%2F", "%2E%2E", "..", ".", "", "/", "%2F", "%2f%2f", "%00", "%FF", "+", ";", "a;b=c", "%25", "%252F", "é", "a|b", "%C3%A9", "a/b", "a//b", "%zz", "%", "a%20b", "{x}", "?a", "#a",
		strings.Repeat("x", 256), "%7F", "%0D%0A", "..%5C..", "%F0%9F%92%BB",
	} {
		f.Add(s)
	}
	m, _ := newManager(f, memory.New(), authz.Config{})
	h := newHandler(f, m)
	f.Fuzz(func(t *testing.T, segment string) {
		u, err := url.ParseRequestURI(path + "/" + segment) // as net/http does
		if err != nil {
			return
		}
		req := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(minimalBody))
		req.URL, req.RequestURI = u, path+"/"+segment
		req.Header.Set("Authorization", basic("mona", password))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		got := read(t, rec.Result())
		checkCommon(t, segment, got)
		switch {
		case got.status == 200, got.status == 201:
			raw, _, _ := strings.Cut(segment, "?")
			want, err := url.PathUnescape(raw)
			if err != nil || strings.Contains(raw, "/") || got.decode(t)["fingerprint"] != want {
				t.Errorf("%q: fingerprint %q, want %q", segment, got.decode(t)["fingerprint"], want)
			}
			if url := got.header.Get("Location"); !strings.HasPrefix(url, "http://example.com/authorizations/") {
				t.Errorf("%q: Location %q", segment, url)
			}
		case got.status < 400 || got.status > 499:
			t.Errorf("%q: %d %s", segment, got.status, got.body)
		}
	})
}
