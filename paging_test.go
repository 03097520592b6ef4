package authz

import (
	"bytes"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// oneLink is a link of a Link header (RFC 8288 section 3) as this API writes it.
var oneLink = regexp.MustCompile(`^<([^<>" ]*)>; rel="([a-z]+)"$`)

// linksOf takes a Link header apart by its grammar: the URLs by relation.
func linksOf(t *testing.T, header string) map[string]*url.URL {
	t.Helper()
	links := map[string]*url.URL{}
	if header == "" {
		return links
	}
	for part := range strings.SplitSeq(header, ", ") {
		m := oneLink.FindStringSubmatch(part)
		if m == nil {
			t.Fatalf("%q is no link of %q", part, header)
		}
		u, err := url.Parse(m[1])
		if err != nil || links[m[2]] != nil {
			t.Fatalf("%q: %v, or its relation is there twice", part, err)
		}
		links[m[2]] = u
	}
	return links
}

const pagingBase = "http://h/authorizations"

// asked is what a page number or size in a query says, 0 if it counts
// as absent, and the greatest int if it is greater.
func asked(query url.Values, name string) int {
	text := strings.TrimPrefix(query.Get(name), "+")
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || strings.ContainsAny(text, "+_") || n.Sign() <= 0 {
		return 0
	}
	if !n.IsInt64() {
		return math.MaxInt
	}
	return int(n.Int64())
}

// checkPage checks all that is said of one page of total records.
func checkPage(t *testing.T, p page, maxSize int, total int64) {
	t.Helper()
	last := p.last(total)
	pages := new(big.Int).Div(big.NewInt(total-1), big.NewInt(int64(p.size))) // rounds down: -1 for nothing
	if pages.Add(pages, big.NewInt(1)); pages.Sign() == 0 {
		pages.SetInt64(1)
	}
	if limit := big.NewInt(math.MaxInt / maxListLimit); pages.Cmp(limit) > 0 {
		pages = limit
	}
	if pages.Cmp(big.NewInt(int64(last))) != 0 {
		t.Errorf("%d records by %d: %d pages, want %v", total, p.size, last, pages)
	}
	skip, ok := p.skip(total)
	want := new(big.Int).Mul(big.NewInt(int64(p.number-1)), big.NewInt(int64(p.size)))
	if ok != (p.number <= last) || ok && want.Cmp(big.NewInt(int64(skip))) != 0 || ok && total > 0 && int64(skip) >= total || !ok && skip != 0 {
		t.Errorf("page %d of %d by %d: skip %d, %t", p.number, total, p.size, skip, ok)
	}
	wanted := map[string]int{}
	if p.number < last {
		wanted["next"], wanted["last"] = p.number+1, last
	}
	if p.number > 1 {
		wanted["first"], wanted["prev"] = 1, min(p.number-1, last)
	}
	header := p.link(pagingBase, total)
	links := linksOf(t, header)
	if len(links) != len(wanted) {
		t.Errorf("page %d of %d by %d: Link %q, want %v", p.number, total, p.size, header, wanted)
	}
	for rel, number := range wanted {
		u := links[rel]
		if u == nil {
			t.Fatalf("page %d of %d by %d: Link %q has no %s", p.number, total, p.size, header, rel)
		}
		if base, _, _ := strings.Cut(u.String(), "?"); base != pagingBase || u.Fragment != "" {
			t.Errorf("%s leads to %q", rel, u)
		}
		to, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			t.Fatalf("%s: %q: %v", rel, u, err)
		}
		for name, values := range to {
			if len(values) != 1 {
				t.Errorf("%s: %s is there %d times", rel, name, len(values))
			}
		}
		if q := newPage(to, maxSize, "client_id"); number < 1 || number > last || q.number != number || q.size != p.size || to.Get("page") != strconv.Itoa(number) {
			t.Errorf("%s leads to page %d by %d (%q), want %d by %d", rel, q.number, q.size, u, number, p.size)
		}
		if to.Get("client_id") != p.query.Get("client_id") {
			t.Errorf("%s has the filter %q, want %q", rel, to.Get("client_id"), p.query.Get("client_id"))
		}
	}
}

// walk follows rel=next from the first page, and checks that every record comes
// once.
func walk(t *testing.T, query url.Values, maxSize int, total int64) {
	t.Helper()
	query.Del("page")
	seen := int64(0)
	for {
		p := newPage(query, maxSize, "client_id")
		next := linksOf(t, p.link(pagingBase, total))["next"]
		skip, ok := p.skip(total)
		if !ok || int64(skip) != seen {
			t.Fatalf("%d records: page %d by %d begins at %d (%t), want %d", total, p.number, p.size, skip, ok, seen)
		}
		seen = min(total, seen+int64(p.size))
		if next == nil {
			break
		}
		query = next.Query()
	}
	if seen != total {
		t.Errorf("the walk met %d of %d records", seen, total)
	}
}

// For any query and any number of records: the page is the one asked for or the
// default, every link leads to a page that is there, and nothing overflows.
func FuzzPages(f *testing.F) {
	totals := []int64{0, 1, 30, 31, 200, math.MaxInt64}
	for i, q := range []string{
		"", "page=2", "page=0", "page=-1", "page=1e3", "page=9223372036854775807", "page=9223372036854775808", "page=184467440737095516160", "page=+2", "page=%2B2", "page=1_0", "page=99999999999999999999-1", "page=%2B99999999999999999999", "page=99999999999999999999%2B1", "page=-99999999999999999999", "per_page=99999999999999999999x", "page=0x10", "page=02",
		"page=2&page=3", "page=2;per_page=1", "per_page=1", "per_page=0", "per_page=100", "per_page=101", "per_page=9223372036854775807", "per_page=-9223372036854775808", "per_page=1&page=7",
		"client_id=abcde12345fghij67890&per_page=2&page=3", "client_id=%3E%22%2C%3C&page=2&per_page=1", "client_id=a%26page%3D9&page=2", "client_id=&page=2", "client_id=a&client_id=b", "client_id=%zz&page=3",
		"page=%00", "page=%D9%A1", "page=2%20", "page", "%70age=2", "page%00=2", "client_id=%FF%0D%0A&per_page=1",
	} {
		f.Add(q, uint16(99), totals[i%len(totals)])
		f.Add(q, uint16(99), totals[5-i%len(totals)])
	}
	f.Add("per_page=5&page=2", uint16(0), int64(2))
	f.Add("page=3", uint16(9), int64(25))
	f.Add("per_page=1000&page=2", uint16(999), int64(2001))
	f.Fuzz(func(t *testing.T, text string, limit uint16, total int64) {
		maxSize := 1 + int(limit)%maxListLimit
		if total < 0 {
			total = -(total + 1)
		}
		query, _ := url.ParseQuery(text) // as URL.Query does
		p := newPage(query, maxSize, "client_id")
		number, size := max(1, asked(query, "page")), asked(query, "per_page")
		if size == 0 {
			size = 30
		}
		if size = min(size, maxSize); p.number != number || p.size != size {
			t.Errorf("%q is page %d by %d, want %d by %d", text, p.number, p.size, number, size)
		}
		checkPage(t, p, maxSize, total)
		walk(t, query, maxSize, total%(int64(p.size)*4)) // 4 pages say what 400 would
	})
}

// The walk meets every record once, for all numbers around the pages' edges.
func TestPages(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 4, 5, 7, 10, 29, 30, 31, 99, 100, 101} {
		for total := range int64(4*size + 3) {
			query := url.Values{"client_id": {"a&b=c>"}}
			query.Set("per_page", strconv.Itoa(size))
			walk(t, query, 100, total)
			for number := range 7 {
				query.Set("page", strconv.Itoa(number))
				checkPage(t, newPage(query, 100, "client_id"), 100, total)
			}
		}
	}
	for _, total := range []int64{math.MaxInt32, math.MaxInt32 * 100, math.MaxInt32*100 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		for _, size := range []int{1, 2, 30, 1000} {
			p := newPage(url.Values{"per_page": {strconv.Itoa(size)}}, 1000)
			for _, p.number = range []int{1, 2, p.last(total) - 1, p.last(total), p.last(total) + 1, math.MaxInt} {
				checkPage(t, p, 1000, total)
			}
		}
	}
}

var (
	oneTag  = `(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"`
	tagList = regexp.MustCompile(`^[ \t]*(?:\*|` + oneTag + `(?:[ \t]*,[ \t]*` + oneTag + `)*)[ \t]*$`)
)

// What the grammar of If-None-Match allows (RFC 9110 section 13.1.2) is read as
// net/http reads it; of other headers, none matches that does not hold the tag.
func FuzzIfNoneMatch(f *testing.F) {
	const etag = `"0123456789abcdef0123456789abcdef"`
	for _, s := range []string{
		"", "*", " * ", etag, "W/" + etag, "w/" + etag, "W/W/" + etag, `"x", ` + etag, `"x"` + "\n" + etag, etag + `,"x"`, `"x" , W/` + etag + ` , "y"`, `""`, `W/""`, etag[1:], etag[:len(etag)-1], `"` + etag + `"`,
		",", ",," + etag, etag + ",", `*, "x"`, `"x", *`, "*" + etag, `"*"`, "W/*", `W/ ` + etag, strings.ToUpper(etag), "\t" + etag + "\t", `"x,*,y"`, `"x,y", ` + etag, `",", "*"`, `"\` + etag, strings.Repeat(`"x", `, 1000) + etag, `"é"`, "\x00" + etag,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		lines := strings.Split(header, "\n")
		got := matches(lines, etag)
		if got && !strings.Contains(header, etag) && !strings.Contains(header, "*") {
			t.Errorf("%q matches", header)
		}
		list := strings.Join(lines, ", ")
		if !tagList.MatchString(list) {
			return
		}
		w := httptest.NewRecorder()
		w.Header().Set("ETag", etag)
		r := &http.Request{Method: http.MethodGet, Header: http.Header{"If-None-Match": {list}}}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(nil))
		if want := w.Code == http.StatusNotModified; got != want {
			t.Errorf("%q matches: %t, want %t", header, got, want)
		}
	})
}
