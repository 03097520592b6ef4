package conformance_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	yamljson "github.com/pb33f/libopenapi/json"
)

const pagePath = "../docs/api.md"

var update = flag.Bool("update", false, "write "+pagePath)

// docs/api.md is what the document says, for people to read.
func TestPage(t *testing.T) {
	want := load(t).page(t)
	if *update {
		if err := os.WriteFile(pagePath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	// A checkout on Windows can have other line ends.
	if got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")); bytes.Equal(got, want) {
		return
	}
	gotLines, wantLines := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Fatalf("%s is stale: go test -run TestPage -update\nline %d: got  %q\nwant %q", pagePath, i+1, gotLines[i], wantLines[i])
		}
	}
	t.Fatalf("%s is stale: go test -run TestPage -update\ngot %d lines, want %d", pagePath, len(gotLines), len(wantLines))
}

// All links within the page lead somewhere, and no table has a broken row.
func TestPageIsWellFormed(t *testing.T) {
	page := string(load(t).page(t))
	anchors := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		anchors[anchor(m[1])]++
	}
	for name, n := range anchors {
		if n > 1 {
			t.Errorf("%d headings have the anchor #%s", n, name)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(page, -1) {
		if anchors[m[1]] == 0 {
			t.Errorf("the link #%s leads nowhere", m[1])
		}
	}
	columns := 0
	for i, line := range strings.Split(page, "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns != 0 && n != columns {
			t.Errorf("line %d has %d columns, want %d: %s", i+1, n-1, columns-1, line)
		}
		columns = n
	}
}

func (a *api) page(t testing.TB) []byte {
	t.Helper()
	tmpl := template.Must(template.New("page").Funcs(template.FuncMap{
		"anchor": anchor, "cell": cell, "code": code, "join": strings.Join, "trim": strings.TrimSpace,
	}).Parse(pageTemplate))
	var out bytes.Buffer
	if err := tmpl.Execute(&out, a.pageData(t)); err != nil {
		t.Fatal(err)
	}
	return append(bytes.TrimSpace(regexp.MustCompile(`\n{3,}`).ReplaceAll(out.Bytes(), []byte("\n\n"))), '\n')
}

type pageData struct {
	Info     *base.Info
	Security []row
	Common   []row
	Tags     []pageTag
	Unrouted pageOperation
	Errors   []row
	Headers  []row
	Schemas  []pageSchema
}

type pageTag struct {
	*base.Tag
	Operations []pageOperation
}

type pageOperation struct {
	Method, Path, Summary, Description string

	Who        string
	Success    string
	Parameters []row
	Request    string // its type
	Members    []row  // of the request
	Answers    []row
	Shared     string // the statuses of answers that stand under Errors
	Examples   []pageExample
}

// row is one of a table, as the template wants it.
type row struct{ Name, Where, Type, Required, Description, Extra string }

type pageExample struct{ Title, JSON string }

type pageSchema struct {
	Name, Description string
	Type              string // where it has no members
	Members           []row
}

const pageTemplate = `<!-- Made from openapi.yaml by "go test -run TestPage -update" in conformance/. Change openapi.yaml, not this page. -->
# HTTP API

{{.Info.Summary}} The same as an OpenAPI 3.1 document: [openapi.yaml](openapi.yaml).

{{.Info.Description | trim}}

## Endpoints

| | | credentials | success |
|---|---|---|---|
{{range .Tags}}{{range .Operations}}| {{.Method | code}} {{.Path | code}} | [{{.Summary}}](#{{anchor .Summary}}) | {{.Who}} | {{.Success}} |
{{end}}{{end}}

## Credentials

| | |
|---|---|
{{range .Security}}| {{.Name}} | {{.Description | cell}} |
{{end}}

## Headers

All answers have these:

| header | |
|---|---|
{{range .Common}}| {{.Name | code}} | {{.Description | cell}} |
{{end}}
Others, where the answer says so:

| header | |
|---|---|
{{range .Headers}}| {{.Name | code}} | {{.Description | cell}} |
{{end}}
{{range .Tags}}
## {{.Name}}

{{.Description | trim}}
{{range .Operations}}{{template "operation" .}}{{end}}{{end}}
## Elsewhere

{{.Unrouted.Summary}} {{.Unrouted.Description | trim}}

{{template "answers" .Unrouted.Answers}}
## Errors

Bodies are JSON objects with a ` + "`message`" + `, and with a ` + "`documentation_url`" + ` where the host has configured one. Where an answer has a text for its body,
that is the message; clients may rely on its letters. The answers of several endpoints:

{{template "answers" .Errors}}
## Schemas
{{range .Schemas}}
### {{.Name}}
{{with .Description}}
{{.}}
{{end}}{{if .Members}}
| member | type | |
|---|---|---|
{{range .Members}}| {{.Name | code}}{{.Required}} | {{.Type}} | {{.Description | cell}} |
{{end}}{{else}}
{{.Type}}
{{end}}{{end}}
{{define "operation"}}
### {{.Summary}}

` + "```http" + `
{{.Method}} {{.Path}}
` + "```" + `

{{.Description | trim}}
{{with .Parameters}}
| parameter | in | |
|---|---|---|
{{range .}}| {{.Name | code}}{{.Required}} | {{.Where}} | {{.Description | cell}} |
{{end}}{{end}}{{if .Request}}
Body: {{.Request}}

| member | type | |
|---|---|---|
{{range .Members}}| {{.Name | code}}{{.Required}} | {{.Type}} | {{.Description | cell}} |
{{end}}{{end}}
{{template "answers" .Answers}}{{with .Shared}}
Also {{.}}: see [Errors](#errors).
{{end}}
{{with .Examples}}
<details><summary>Examples</summary>
{{range .}}
{{.Title}}

` + "```json" + `
{{.JSON}}
` + "```" + `
{{end}}
</details>
{{end}}{{end}}
{{define "answers"}}| answer | body | headers | |
|---|---|---|---|
{{range .}}| {{.Name}} | {{.Type}} | {{.Extra}} | {{with .Where}}{{.}}: {{end}}{{.Description | cell}} |
{{end}}{{end}}`

func (a *api) pageData(t testing.TB) pageData {
	info := *a.model.Info
	info.Description = strings.ReplaceAll(info.Description, "one of the answers of `components/pathItems/Unrouted`", "one of the answers under [Elsewhere](#elsewhere)")
	d := pageData{Info: &info, Unrouted: a.pageOperation(t, a.unrouted), Errors: a.sharedAnswers(t)}
	for name, s := range a.model.Components.SecuritySchemes.FromOldest() {
		d.Security = append(d.Security, row{Name: who[name], Description: s.Description})
	}
	for name, h := range a.model.Components.Headers.FromOldest() {
		r := row{Name: name, Description: h.Description}
		switch {
		case slices.Contains(commonHeaders, name):
			d.Common = append(d.Common, r)
		case !strings.HasPrefix(name, "Retry-After-") && !strings.HasPrefix(name, "WWW-Authenticate-"): // the same for one answer
			d.Headers = append(d.Headers, r)
		}
	}
	for _, tag := range a.model.Tags {
		p := pageTag{Tag: tag}
		for _, op := range a.operations {
			if op.Tags[0] == tag.Name {
				p.Operations = append(p.Operations, a.pageOperation(t, op))
			}
		}
		d.Tags = append(d.Tags, p)
	}
	for name, proxy := range a.model.Components.Schemas.FromOldest() {
		if !schemaOfItsOwn(name, proxy) {
			continue
		}
		s := proxy.Schema()
		d.Schemas = append(d.Schemas, pageSchema{Name: name, Description: s.Description, Type: a.plainType(s), Members: a.members(s)})
	}
	return d
}

// schemaOfItsOwn says that a schema stands under Schemas, and that others only
// name it: it has members, or alternatives.
func schemaOfItsOwn(name string, proxy *base.SchemaProxy) bool {
	s := proxy.Schema()
	return (s.Properties != nil || s.OneOf != nil) && !strings.HasSuffix(name, "Request") && !strings.HasSuffix(name, "Members") && messageOf(s) == ""
}

// messageOf is the text of a schema for an error without further members.
func messageOf(s *base.Schema) string {
	if s.Properties == nil || s.Properties.Len() != 2 || s.Properties.GetOrZero("documentation_url") == nil {
		return ""
	}
	m := s.Properties.GetOrZero("message").Schema()
	switch {
	case m.Const != nil:
		return code(text1(decodeNode(m.Const)))
	case m.Enum != nil:
		var list []string
		for _, e := range m.Enum {
			list = append(list, code(text1(decodeNode(e))))
		}
		return strings.Join(list, "<br>")
	case strings.HasPrefix(m.Pattern, "^Invalid request"):
		return code(`Invalid request.\n\n"…" is not a permitted key.`)
	case strings.HasPrefix(m.Pattern, "^("):
		var list []string
		for _, e := range strings.Split(strings.TrimSuffix(m.Pattern[2:], ")$"), "|") {
			if strings.HasPrefix(e, "Request has more") {
				e = "Request has more than one … header"
				list = append(list, code(e))
				break
			}
			list = append(list, code(e))
		}
		return strings.Join(list, "<br>")
	case strings.HasPrefix(m.Pattern, "^Request has more"):
		return code("Request has more than one … header")
	}
	return ""
}

var commonHeaders = []string{"Cache-Control", "X-Content-Type-Options", "X-Request-Id", "Status"}

var who = map[string]string{"userBasic": "user", "appBasic": "app", "clientSecretPost": "app, in the form"}

func (a *api) pageOperation(t testing.TB, op operation) pageOperation {
	p := pageOperation{Method: op.method, Path: op.path, Summary: op.Summary, Description: op.Description, Who: "none"}
	if op.Summary == "" {
		p.Summary, p.Description = op.item.Summary, op.item.Description
	}
	var names []string
	for _, s := range op.Security {
		for scheme := range s.Requirements.FromOldest() {
			names = append(names, who[scheme])
		}
	}
	if names != nil {
		p.Who = strings.Join(names, "; ")
	}
	for _, q := range op.parameters() {
		p.Parameters = append(p.Parameters, row{Name: q.Name, Where: q.In, Required: required(q.Required != nil && *q.Required), Description: q.Description})
	}
	if op.RequestBody != nil {
		for contentType, m := range op.RequestBody.Content.FromOldest() {
			p.Request = map[string]string{"application/json": "a JSON object.", formType: "a form (`" + formType + "`)."}[contentType]
			p.Request = strings.TrimSpace(p.Request + " " + m.Schema.Schema().Description + " " + op.RequestBody.Description)
			p.Members = a.members(m.Schema.Schema())
			for _, e := range rawExamples(t, m) {
				title := "Request"
				if contentType == formType {
					title = "Request, written as JSON"
				}
				p.Examples = append(p.Examples, pageExample{title + e.Title + ":", e.JSON})
			}
		}
	}
	var success, shared []string
	for status, r := range op.Responses.Codes.FromOldest() {
		n := number(t, status)
		if n < 300 {
			success = append(success, status)
		}
		if a.shared(r, n) && op.OperationId != a.unrouted.OperationId {
			shared = append(shared, status)
			continue
		}
		p.Answers = append(p.Answers, a.answerRow(n, r))
		if r.Content == nil || n >= 300 {
			continue
		}
		for _, m := range r.Content.FromOldest() {
			for _, e := range rawExamples(t, m) {
				p.Examples = append(p.Examples, pageExample{"Answer " + status + e.Title + ":", e.JSON})
			}
		}
	}
	p.Shared = strings.Join(shared, ", ")
	p.Success = strings.Join(success, ", ")
	return p
}

func number(t testing.TB, status string) int {
	t.Helper()
	n, err := strconv.Atoi(status)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (a *api) answerRow(status int, r *v3.Response) row {
	answer := row{Name: fmt.Sprintf("**%d** %s", status, http.StatusText(status)), Type: "none", Description: r.Description}
	var headers []string
	for name := range r.Headers.FromOldest() {
		if !slices.Contains(commonHeaders, name) {
			headers = append(headers, code(name))
		}
	}
	answer.Extra = strings.Join(headers, ", ")
	if r.Content != nil {
		for contentType, m := range r.Content.FromOldest() {
			if answer.Type = a.typeOf(m.Schema); contentType != "application/json" {
				answer.Type = code(contentType)
			}
		}
	}
	return answer
}

// users are the tags of the operations that have a component for an answer, and
// how many operations it is.
func (a *api) users(r *v3.Response) (tags []string, n int) {
	reference := r.GoLow().GetReference()
	for _, op := range a.operations {
		for _, other := range op.Responses.Codes.FromOldest() {
			if reference == "" || other.GoLow().GetReference() != reference {
				continue
			}
			n++
			if !slices.Contains(tags, op.Tags[0]) {
				tags = append(tags, op.Tags[0])
			}
		}
	}
	return tags, n
}

// shared says that an error stands under Errors, and not with each operation.
func (a *api) shared(r *v3.Response, status int) bool {
	_, n := a.users(r)
	return status >= 400 && n > 3
}

func (a *api) sharedAnswers(t testing.TB) (rows []row) {
	for _, op := range a.operations {
		for status, r := range op.Responses.Codes.FromOldest() {
			if n := number(t, status); a.shared(r, n) {
				answer := a.answerRow(n, r)
				if tags, _ := a.users(r); len(tags) < len(a.model.Tags)-1 {
					answer.Where = strings.Join(tags, ", ")
				}
				if !slices.Contains(rows, answer) {
					rows = append(rows, answer)
				}
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// rawExamples are a media type's in JSON, their members in the document's order.
func rawExamples(t testing.TB, m *v3.MediaType) (list []pageExample) {
	add := func(title string, b []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := json.Indent(&out, bytes.TrimSpace(b), "", "  "); err != nil {
			t.Fatal(err)
		}
		list = append(list, pageExample{title, out.String()})
	}
	if m.Example != nil {
		b, err := yamljson.YAMLNodeToJSON(m.Example, "  ")
		add("", b, err)
	}
	if m.Examples != nil {
		for name, e := range m.Examples.FromOldest() {
			b, err := yamljson.YAMLNodeToJSON(e.Value, "  ")
			add(", "+strings.ReplaceAll(name, "_", " "), b, err)
		}
	}
	return list
}

// members are an object's, those of the schemas that it is all of included.
func (a *api) members(s *base.Schema) (rows []row) {
	for _, part := range s.AllOf {
		for _, r := range a.members(part.Schema()) {
			if s.Properties == nil || s.Properties.GetOrZero(r.Name) == nil || r.Name != "token" {
				rows = append(rows, r)
				continue
			}
			// The schema says more of it than the part does.
			p := s.Properties.GetOrZero(r.Name).Schema()
			if p.Const != nil {
				r.Type, r.Description = a.plainType(p), ""
			} else {
				r.Description = "The token."
			}
			rows = append(rows, r)
		}
	}
	if s.Properties == nil {
		return rows
	}
	for name, proxy := range s.Properties.FromOldest() {
		if slices.ContainsFunc(rows, func(r row) bool { return r.Name == name }) {
			continue
		}
		r := row{Name: name, Type: a.typeOf(proxy), Required: required(slices.Contains(s.Required, name))}
		if p := proxy.Schema(); !strings.Contains(r.Type, "](#") || proxy.IsTransformedRefWithSiblings() {
			r.Description = p.Description
			if p.Default != nil {
				r.Description += " Default: " + code(text1(decodeNode(p.Default))) + "."
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func required(yes bool) string {
	if yes {
		return ""
	}
	return " (optional)"
}

// typeOf is a schema in few words: the name of one that stands under Schemas,
// or what it is.
func (a *api) typeOf(proxy *base.SchemaProxy) string {
	s := proxy.Schema()
	if ref := proxy.GetReference(); ref != "" {
		name := ref[strings.LastIndex(ref, "/")+1:]
		if message := messageOf(s); message != "" {
			return message
		}
		if schemaOfItsOwn(name, proxy) {
			return "[" + name + "](#" + anchor(name) + ")"
		}
		if len(s.AllOf) == 0 && s.Type == nil && s.Const == nil { // a reference with something beside it
			return a.typeOf(base.CreateSchemaProxy(s))
		}
	}
	return a.plainType(s)
}

func (a *api) plainType(s *base.Schema) string {
	var alternatives []string
	for _, proxy := range s.OneOf {
		alternatives = append(alternatives, a.typeOf(proxy))
	}
	if alternatives != nil {
		return strings.Join(alternatives, "<br>or ")
	}
	if s.Const != nil {
		b, _ := json.Marshal(decodeNode(s.Const))
		return code(string(b))
	}
	if s.Enum != nil {
		var list []string
		for _, e := range s.Enum {
			list = append(list, code(text1(decodeNode(e))))
		}
		return strings.Join(list, ", ")
	}
	var words []string
	for _, name := range s.Type {
		switch {
		case name == "array" && s.MaxItems != nil && *s.MaxItems == 0:
			words = append(words, "empty array")
		case name == "array":
			words = append(words, "array of "+a.typeOf(s.Items.A))
		case name == "string" && (s.Format == "date-time" || s.Format == "uuid"):
			words = append(words, s.Format)
		case name == "string" && (s.Format == "uri" || strings.HasPrefix(s.Pattern, "^([Hh]")):
			words = append(words, "URL")
		default:
			words = append(words, name)
		}
	}
	out := strings.Join(words, " or ")
	if s.MaxLength != nil {
		out += fmt.Sprintf(", at most %d characters", *s.MaxLength)
	}
	if s.MaxItems != nil && *s.MaxItems > 0 {
		out += fmt.Sprintf(", at most %d", *s.MaxItems)
	}
	return out
}

func text1(v any) string { return fmt.Sprint(v) }

func code(s string) string {
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}

// cell fits a text into a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}
