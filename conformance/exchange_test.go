package conformance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi-validator/content"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// exchange is a request and its answer, as the tests of package authz record
// them: one line of JSON each.
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

func (e exchange) String() string {
	return fmt.Sprintf("%s: %s %s %.200q: %d %q %.600q", e.Test, e.Method, e.URL, e.RequestBody, e.Status, e.Header, e.Body)
}

// split returns where the server is and the path, still encoded.
func (e exchange) split() (origin, path string) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return e.Test, e.URL
	}
	return e.Test + u.Host, u.EscapedPath()
}

// wellKnown is the one path that a prefix can also stand behind (RFC 8414
// section 3.1).
const wellKnown = "/.well-known/oauth-authorization-server"

// mounts are the prefixes that handlers are found under: by server, what stood
// before the paths of those answers that tell of an operation.
type mounts map[string]map[string]bool

// locate says which operation an exchange is of. The handler can be under a
// prefix, so the path may have some segments in front; what is 404 where the
// server shows no operations at all is no answer of one: it was asked for at a
// place where the handler is not.
func (a *api) locate(e exchange, m mounts) (op operation, prefix string, known bool) {
	origin, path := e.split()
	if rest, ok := strings.CutPrefix(path, wellKnown+"/"); ok && e.Status != http.StatusNotFound {
		op, known = a.find(e.Method, wellKnown)
		return op, "/" + rest, known
	}
	if unclean(path) {
		return a.unrouted, "", false
	}
	for rest := path; ; {
		op, known = a.find(e.Method, rest)
		prefix = strings.TrimSuffix(path, rest)
		if known && (e.Status != http.StatusNotFound || m == nil || m[origin][prefix]) {
			return op, prefix, true
		}
		i := strings.Index(rest[min(1, len(rest)):], "/")
		if i < 0 {
			return a.unrouted, "", false
		}
		rest = rest[i+1:]
	}
}

// unclean paths lead nowhere, wherever they would lead if they were clean.
func unclean(path string) bool {
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && path != "/" {
			return true
		}
	}
	return false
}

// mountsOf finds the prefixes of all servers.
func (a *api) mountsOf(list []exchange) mounts {
	m := mounts{}
	for _, e := range list {
		if e.Status == http.StatusNotFound {
			continue
		}
		if _, prefix, known := a.locate(e, nil); known {
			origin, _ := e.split()
			if m[origin] == nil {
				m[origin] = map[string]bool{}
			}
			m[origin][prefix] = true
		}
	}
	return m
}

// transport are headers that any HTTP server sends, and that say nothing of the
// API.
var transport = []string{"Connection", "Content-Length", "Content-Type", "Date", "Transfer-Encoding"}

// check validates an exchange against the document and returns the operation
// it belongs to, and all that deviates.
func (a *api) check(e exchange, m mounts) (operation, error) {
	op, _, known := a.locate(e, m)
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	// What net/http refuses, no handler sees.
	if id := e.Header.Get("X-Request-Id"); id == "" && e.Status == http.StatusBadRequest && strings.HasPrefix(e.Header.Get("Content-Type"), "text/plain") {
		return a.unrouted, nil
	}

	response := op.Responses.Codes.GetOrZero(strconv.Itoa(e.Status))
	if response == nil {
		return op, fmt.Errorf("status %d is not documented", e.Status)
	}
	if known && op.OperationId == a.unrouted.OperationId && e.Status == http.StatusNotFound && !leadsNowhere(e) {
		add("a method that the path does not have is 405, not 404")
	}
	if err := a.checkBody(op, e, response); err != nil {
		errs = append(errs, err)
	}
	if err := a.checkHeaders(e, response); err != nil {
		errs = append(errs, err)
	}
	if e.Status < 400 && op.OperationId != a.unrouted.OperationId {
		if err := a.checkRequest(op, e); err != nil {
			add("the request was accepted, and is not by the document: %w", err)
		}
	}
	return op, errors.Join(errs...)
}

// leadsNowhere says that a path is none, whatever the method, or is there for
// testing one-time passwords.
func leadsNowhere(e exchange) bool {
	_, path := e.split()
	i := strings.LastIndex(path, "/")
	if i < 0 {
		return true // OPTIONS *
	}
	if unclean(path) {
		return true
	}
	switch last := path[i+1:]; {
	case last == "authorizations":
		return e.Method == http.MethodPatch || e.Method == http.MethodPut
	case strings.HasSuffix(path[:i], "/authorizations"), strings.HasSuffix(path[:i], "/applications/grants"):
		id, err := strconv.ParseInt(last, 10, 64)
		return err != nil || id < 1 || strconv.FormatInt(id, 10) != last
	}
	return strings.Contains(path, "/applications/") // another app's, or not switched on
}

// checkBody leaves the answer's body and required headers to the validator.
func (a *api) checkBody(op operation, e exchange, response *v3.Response) error {
	documented := response.Content != nil && response.Content.Len() > 0
	if e.Method == http.MethodHead || !documented {
		if e.Body != "" {
			return fmt.Errorf("the body should be empty: %.100q", e.Body)
		}
		if e.Method != http.MethodHead && e.Header.Get("Content-Type") != "" {
			return fmt.Errorf("Content-Type %q without a body", e.Header.Get("Content-Type"))
		}
	}
	if documented && e.Method != http.MethodHead && e.Body == "" {
		return errors.New("the body is empty")
	}
	answer := &http.Response{StatusCode: e.Status, Header: e.Header.Clone(), Body: io.NopCloser(strings.NewReader(e.Body))}
	// The validator takes the value of a header for JSON where it can be, so that an ETag loses its quotes.
	for _, values := range answer.Header {
		for i, v := range values {
			if json.Valid([]byte(v)) {
				values[i] = strconv.Quote(v)
			}
		}
	}
	request := e.request(op)
	if e.Method == http.MethodHead && documented {
		return nil // the headers are checked below
	}
	if !documented {
		answer.Body = http.NoBody
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, errs := a.answers.ValidateResponseBodyWithPathItem(request, answer, op.item, op.path)
	return join(errs)
}

// checkHeaders checks what the validator does not: optional headers, headers
// that nobody documented, headers that came twice, and whether Status tells the
// truth.
func (a *api) checkHeaders(e exchange, response *v3.Response) error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(e.Header)) {
		values := e.Header[name]
		h := headerOf(response, name)
		if h == nil {
			if !slices.Contains(transport, http.CanonicalHeaderKey(name)) {
				add("header %s is not documented", name)
			}
			continue
		}
		if len(values) != 1 {
			add("header %s came %d times", name, len(values))
		}
		for _, value := range values {
			if err := a.checkValue(h.Schema, value); err != nil {
				add("header %s: %q: %w", name, value, err)
			}
		}
	}
	for name, h := range response.Headers.FromOldest() {
		if h.Required && len(e.Header.Values(name)) == 0 {
			add("header %s is missing", name)
		}
	}
	if got, want := e.Header.Get("Status"), fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)); got != want {
		add("header Status: %q, want %q", got, want)
	}
	if length := e.Header.Get("Content-Length"); length != "" && e.Method != http.MethodHead && e.Status != http.StatusNotModified && length != strconv.Itoa(len(e.Body)) {
		add("header Content-Length: %s, and the body has %d bytes", length, len(e.Body))
	}
	return errors.Join(errs...)
}

func headerOf(response *v3.Response, name string) *v3.Header {
	for documented, h := range response.Headers.FromOldest() {
		if strings.EqualFold(documented, name) {
			return h
		}
	}
	return nil
}

// checkRequest checks a request that the handler took.
func (a *api) checkRequest(op operation, e exchange) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	request := e.request(op)
	if op.RequestBody != nil && (e.RequestBody != "" || op.RequestBody.Required != nil && *op.RequestBody.Required) {
		if form := op.RequestBody.Content.GetOrZero(formType); form != nil {
			// Not the validator's: it takes escaped characters for such as should have been escaped.
			values, err := url.ParseQuery(strings.TrimRight(e.RequestBody, "\r\n"))
			object := map[string]any{}
			for name := range values {
				object[name] = values.Get(name)
			}
			_, problems := a.schemas.ValidateSchemaObjectWithVersion(form.Schema.Schema(), object, 3.1)
			errs = append(errs, err, join(problems))
		} else {
			_, problems := a.bodies.ValidateRequestBodyWithPathItem(request, op.item, op.path)
			errs = append(errs, join(problems))
		}
	}
	_, problems := a.params.ValidateHeaderParamsWithPathItem(request, op.item, op.path)
	errs = append(errs, join(problems))
	_, problems = a.params.ValidateQueryParamsWithPathItem(request, op.item, op.path)
	errs = append(errs, join(problems))
	for _, security := range op.Security {
		for scheme := range security.Requirements.FromOldest() {
			if form, _ := url.ParseQuery(e.RequestBody); scheme == "clientSecretPost" && form.Has("client_secret") {
				return errors.Join(errs...)
			}
			if strings.HasSuffix(scheme, "Basic") && strings.HasPrefix(strings.ToLower(e.RequestHeader.Get("Authorization")), "basic ") {
				return errors.Join(errs...)
			}
		}
	}
	if len(op.Security) > 0 {
		errs = append(errs, errors.New("credentials"))
	}
	return errors.Join(errs...)
}

// request is the exchange's, as the document writes it: the API reads JSON
// whatever the Content-Type says, and HEAD is GET.
func (e exchange) request(op operation) *http.Request {
	u, err := url.Parse(e.URL)
	if err != nil {
		u = &url.URL{Path: op.path}
	}
	header := e.RequestHeader.Clone()
	if header == nil {
		header = http.Header{}
	}
	if op.RequestBody != nil {
		for contentType := range op.RequestBody.Content.FromOldest() {
			header.Set("Content-Type", contentType)
		}
	}
	return &http.Request{Method: op.method, URL: &url.URL{Scheme: "http", Host: "test", Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}, Header: header,
		Body: io.NopCloser(strings.NewReader(e.RequestBody)), ContentLength: int64(len(e.RequestBody))}
}

// text decodes a body that is text, for the validator.
type text struct{}

func (text) Decode(in *content.DecodeInput) (any, error) {
	b, err := io.ReadAll(in.Body)
	return string(b), err
}

// recorder is a client's transport that keeps all exchanges.
type recorder struct {
	next http.RoundTripper
	mu   sync.Mutex
	list []exchange
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		sent, _ = io.ReadAll(req.Body)
		req.Body.Close()
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r.add(exchange{"", req.Method, req.URL.String(), req.Header.Clone(), string(sent), resp.StatusCode, resp.Header.Clone(), string(body)})
	return resp, nil
}

func (r *recorder) add(e exchange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

func (r *recorder) exchanges() []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// readExchanges reads what the tests of package authz have recorded.
func readExchanges(r io.Reader) (list []exchange, err error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	for {
		var e exchange
		switch err := dec.Decode(&e); err {
		case nil:
			list = append(list, e)
		case io.EOF:
			return list, nil
		default:
			return nil, fmt.Errorf("exchange %d: %w", len(list)+1, err)
		}
	}
}
