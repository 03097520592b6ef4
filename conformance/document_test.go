package conformance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi-validator/config"
	liberrors "github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/parameters"
	"github.com/pb33f/libopenapi-validator/requests"
	"github.com/pb33f/libopenapi-validator/responses"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

const documentPath = "../docs/openapi.yaml"

// api is the document, parsed, with what checks exchanges against it.
type api struct {
	source     []byte
	document   libopenapi.Document
	model      *v3.Document
	operations []operation
	unrouted   operation // what is answered where no operation is

	// The validators keep compiled schemas, but not for callers at once.
	mu       sync.Mutex
	answers  responses.ResponseBodyValidator
	bodies   requests.RequestBodyValidator
	params   parameters.ParameterValidator
	schemas  schema_validation.SchemaValidator
	segments map[string][]string // of each path template
}

// operation is one method of one path.
type operation struct {
	method, path string
	item         *v3.PathItem
	*v3.Operation
}

var loadOnce = sync.OnceValues(func() (*api, error) {
	source, err := os.ReadFile(documentPath)
	if err != nil {
		return nil, err
	}
	return parse(source)
})

// load returns the document of this tree.
func load(t testing.TB) *api {
	t.Helper()
	a, err := loadOnce()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parse(source []byte) (*api, error) {
	document, err := libopenapi.NewDocument(source)
	if err != nil {
		return nil, err
	}
	model, err := document.BuildV3Model()
	if err != nil {
		return nil, err
	}
	a := &api{source: source, document: document, model: &model.Model, segments: map[string][]string{}}
	for path, item := range a.model.Paths.PathItems.FromOldest() {
		a.segments[path] = strings.Split(path, "/")
		for method, op := range item.GetOperations().FromOldest() {
			a.operations = append(a.operations, operation{strings.ToUpper(method), path, item, op})
		}
	}
	item := a.model.Components.PathItems.GetOrZero("Unrouted")
	if item == nil || item.Get == nil {
		return nil, fmt.Errorf("%s has no components/pathItems/Unrouted with a get", documentPath)
	}
	a.unrouted = operation{http.MethodGet, "/unrouted", item, item.Get}
	options := []config.Option{config.WithFormatAssertions(), config.WithURLEncodedBodyValidation(), config.WithBodyDecoder("application/yaml", text{})}
	a.answers = responses.NewResponseBodyValidator(a.model, options...)
	a.bodies = requests.NewRequestBodyValidator(a.model, options...)
	a.params = parameters.NewParameterValidator(a.model, options...)
	a.schemas = schema_validation.NewSchemaValidator(options...)
	return a, nil
}

// find returns the operation that a request is for, or, where there is none,
// what is answered elsewhere. The path is as the request has it, still encoded,
// without the prefix. known says that the path is in the document.
func (a *api) find(method, path string) (op operation, known bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	best := ""
	for template := range a.segments {
		// Of two templates that match, the one with the earlier literal segment wins: "{" is above all letters.
		if a.matches(template, path) && (best == "" || template < best) {
			best = template
		}
	}
	for _, op := range a.operations {
		if op.path == best && op.method == method {
			return op, true
		}
	}
	return a.unrouted, best != ""
}

func (a *api) matches(template, path string) bool {
	want, got := a.segments[template], strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i, w := range want {
		if strings.HasPrefix(w, "{") {
			// No client_id is a slash, and ServeMux takes one at the end for that of the path.
			if got[i] == "" || got[i] == "." || got[i] == ".." || strings.EqualFold(got[i], "%2F") && w == "{client_id}" {
				return false
			}
			continue
		}
		if s, err := url.PathUnescape(got[i]); err != nil || s != w {
			return false
		}
	}
	return true
}

// statuses are the documented ones of an operation.
func (op operation) statuses() (list []string) {
	for status := range op.Responses.Codes.FromOldest() {
		list = append(list, status)
	}
	return list
}

// checkValue checks a value against a schema.
func (a *api) checkValue(schema *base.SchemaProxy, value any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, errs := a.schemas.ValidateSchemaObjectWithVersion(schema.Schema(), value, 3.1)
	return join(errs)
}

// join makes one error of a validator's, in few words.
func join(errs []*liberrors.ValidationError) error {
	var lines []string
	for _, e := range errs {
		if len(e.SchemaValidationErrors) == 0 {
			lines = append(lines, e.Message+": "+e.Reason)
			continue
		}
		for _, s := range e.SchemaValidationErrors {
			lines = append(lines, fmt.Sprintf("%s: %s (%s)", strings.Join(s.InstancePath, "."), s.Reason, s.KeywordLocation))
		}
	}
	if lines == nil {
		return nil
	}
	slices.Sort(lines)
	return fmt.Errorf("%s", strings.Join(slices.Compact(lines), "; "))
}

func TestDocumentIsOpenAPI(t *testing.T) {
	a := load(t)
	if got, want := a.document.GetVersion(), "3.1.1"; got != want {
		t.Errorf("openapi: %s, want %s", got, want)
	}
	if _, errs := schema_validation.ValidateOpenAPIDocument(a.document); len(errs) > 0 {
		t.Error(join(errs))
	}
	ids := map[string]bool{}
	for _, op := range a.operations {
		name := op.method + " " + op.path
		if op.OperationId == "" || ids[op.OperationId] {
			t.Errorf("%s: operationId %q is missing or not unique", name, op.OperationId)
		}
		ids[op.OperationId] = true
		if len(op.Tags) != 1 || op.Summary == "" || op.Description == "" {
			t.Errorf("%s: wants one tag, a summary and a description", name)
		}
		// Every {name} is a parameter of the path, and every such parameter is in it.
		for _, p := range op.parameters() {
			if p.In == "path" && !strings.Contains(op.path, "{"+p.Name+"}") {
				t.Errorf("%s: the path has no {%s}", name, p.Name)
			}
		}
		for _, segment := range a.segments[op.path] {
			if strings.HasPrefix(segment, "{") && !slices.ContainsFunc(op.parameters(), func(p *v3.Parameter) bool { return p.In == "path" && "{"+p.Name+"}" == segment }) {
				t.Errorf("%s: %s is no parameter", name, segment)
			}
		}
	}
}

func (op operation) parameters() []*v3.Parameter {
	return append(slices.Clone(op.item.Parameters), op.Parameters...)
}

// Our own answers say all they hold: a member or a header that is not in the
// document is a mistake of one of the two.
func TestAnswersAreClosed(t *testing.T) {
	a := load(t)
	var closed func(where string, s *base.Schema)
	closed = func(where string, s *base.Schema) {
		for _, alternative := range s.OneOf {
			closed(where, alternative.Schema())
		}
		if s.Items != nil && s.Items.IsA() {
			closed(where+"[]", s.Items.A.Schema())
		}
		no := func(v *base.DynamicValue[*base.SchemaProxy, bool]) bool { return v != nil && v.IsB() && !v.B }
		if (s.Properties != nil || s.AllOf != nil) && !no(s.AdditionalProperties) && !no(s.UnevaluatedProperties) {
			t.Errorf("%s: neither additionalProperties nor unevaluatedProperties is false", where)
		}
		if s.Properties == nil {
			return
		}
		for name, property := range s.Properties.FromOldest() {
			closed(where+"."+name, property.Schema())
		}
	}
	for _, op := range append(slices.Clone(a.operations), a.unrouted) {
		for status, response := range op.Responses.Codes.FromOldest() {
			where := op.OperationId + " " + status
			for _, name := range []string{"Cache-Control", "X-Content-Type-Options", "X-Request-Id", "Status"} {
				if h := response.Headers.GetOrZero(name); h == nil || !h.Required {
					t.Errorf("%s: all answers have %s", where, name)
				}
			}
			if response.Content == nil {
				continue
			}
			for _, media := range response.Content.FromOldest() {
				closed(where, media.Schema.Schema())
			}
		}
	}
}

// Everything in components is used, and every example is valid.
func TestExamples(t *testing.T) {
	a := load(t)
	n := 0
	check := func(where string, schema *base.SchemaProxy, value any) {
		t.Helper()
		n++
		if err := a.checkValue(schema, value); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
	media := func(where string, m *v3.MediaType) {
		for _, e := range examplesOf(m) {
			check(where+" "+e.name, m.Schema, e.value)
		}
	}
	for name, h := range a.model.Components.Headers.FromOldest() {
		if h.Example != nil {
			check("header "+name, h.Schema, decodeNode(h.Example))
		}
	}
	for name, p := range a.model.Components.Parameters.FromOldest() {
		check("parameter "+name, p.Schema, decodeNode(p.Example))
	}
	for _, op := range append(slices.Clone(a.operations), a.unrouted) {
		if op.RequestBody != nil {
			for _, m := range op.RequestBody.Content.FromOldest() {
				if len(examplesOf(m)) == 0 {
					t.Errorf("%s: the request has no example", op.OperationId)
				}
				media(op.OperationId+" request", m)
			}
		}
		for status, response := range op.Responses.Codes.FromOldest() {
			if response.Content == nil {
				continue
			}
			for contentType, m := range response.Content.FromOldest() {
				if len(examplesOf(m)) == 0 && contentType == "application/json" {
					t.Errorf("%s %s: no example", op.OperationId, status)
				}
				media(op.OperationId+" "+status, m)
			}
		}
	}
	if n < 200 {
		t.Errorf("%d examples were checked; there are more", n)
	}
	for _, kind := range []string{"schemas", "responses", "headers", "parameters", "requestBodies"} {
		for _, name := range componentNames(a, kind) {
			if ref := "#/components/" + kind + "/" + name + "'"; !strings.Contains(string(a.source), ref) {
				t.Errorf("components/%s/%s is used nowhere", kind, name)
			}
		}
	}
}

func componentNames(a *api, kind string) (names []string) {
	add := func(name string) { names = append(names, name) }
	c := a.model.Components
	switch kind {
	case "schemas":
		for name := range c.Schemas.FromOldest() {
			add(name)
		}
	case "responses":
		for name := range c.Responses.FromOldest() {
			add(name)
		}
	case "headers":
		for name := range c.Headers.FromOldest() {
			add(name)
		}
	case "parameters":
		for name := range c.Parameters.FromOldest() {
			add(name)
		}
	case "requestBodies":
		for name := range c.RequestBodies.FromOldest() {
			add(name)
		}
	}
	return names
}

type example struct {
	name  string
	value any
}

func examplesOf(m *v3.MediaType) (list []example) {
	if m.Example != nil {
		list = append(list, example{"", decodeNode(m.Example)})
	}
	if m.Examples != nil {
		for name, e := range m.Examples.FromOldest() {
			list = append(list, example{name, decodeNode(e.Value)})
		}
	}
	return list
}

// decodeNode turns a node of YAML into what encoding/json makes of the same
// value.
func decodeNode(node interface{ Decode(any) error }) (v any) {
	var y any
	if err := node.Decode(&y); err != nil {
		panic(err)
	}
	b, err := json.Marshal(y)
	if err != nil {
		panic(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

// The document's example of a 201 is the seed's, to the letter.
func TestSeedExample(t *testing.T) {
	a := load(t)
	op, _ := a.find(http.MethodPut, "/authorizations/clients/abcde12345fghij67890")
	got := examplesOf(op.Responses.Codes.GetOrZero("201").Content.GetOrZero("application/json"))[0].value
	file, err := os.ReadFile("../testdata/seed-201.json")
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(file, &want); err != nil {
		t.Fatal(err)
	}
	gotJSON, _ := json.Marshal(got)
	wantJSON, _ := json.Marshal(want)
	if string(gotJSON) != string(wantJSON) {
		t.Errorf("got  %s\nwant %s", gotJSON, wantJSON)
	}
}

func TestFind(t *testing.T) {
	a := load(t)
	for _, test := range []struct {
		method, path, id string
		known            bool
	}{
		{"PUT", "/authorizations/clients/x", "getOrCreateAuthorization", true},
		{"PUT", "/authorizations/clients/x/%2F", "getOrCreateAuthorizationWithFingerprint", true},
		{"PUT", "/authorizations/clients/%2f", "unrouted", false},
		{"PUT", "/authorizations/clients/x/..", "unrouted", false},
		{"PUT", "/authorizations/clients/x/", "unrouted", false},
		{"HEAD", "/authorizations", "listAuthorizations", true},
		{"PATCH", "/authorizations", "unrouted", true},
		{"POST", "/authorizations/1", "updateAuthorizationByPost", true},
		{"DELETE", "/applications/grants/token", "deleteGrant", true},
		{"DELETE", "/applications/x/token", "revokeToken", true},
		{"DELETE", "/applications/x/tokens/token", "revokeTokenInPath", true},
		{"POST", "/applications/x/token/scoped", "scopeToken", true},
		{"GET", "/", "unrouted", false},
		{"GET", "/authorizations/clients", "getAuthorization", true},
	} {
		op, known := a.find(test.method, test.path)
		if op.OperationId != test.id || known != test.known {
			t.Errorf("find(%s %s) = %s, %v; want %s, %v", test.method, test.path, op.OperationId, known, test.id, test.known)
		}
	}
}
