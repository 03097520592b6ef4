package authz

import (
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
)

// defaultPerPage is the size of pages, if the request says nothing.
const defaultPerPage = 30

// page is one page of a list, as page (counted from 1) and per_page in the query
// ask for.
type page struct {
	number, size int
	query        url.Values // what the other pages' links keep
}

// newPage reads the page from a query. What is no number above 0 counts as
// absent: no request fails for it.
func newPage(query url.Values, maxSize int, keep ...string) page {
	p := page{number: 1, size: min(defaultPerPage, maxSize), query: url.Values{}}
	if n := positive(query.Get("page")); n > 0 {
		p.number = n
	}
	if n := positive(query.Get("per_page")); n > 0 {
		p.size = min(n, maxSize)
		p.query.Set("per_page", strconv.Itoa(p.size))
	}
	for _, name := range keep {
		if v := query.Get(name); v != "" {
			p.query.Set(name, v)
		}
	}
	return p
}

// positive reads a number above 0, as the greatest int if it is greater; 0 is none.
func positive(text string) int {
	n, err := strconv.Atoi(text)
	if errors.Is(err, strconv.ErrRange) && strings.Trim(strings.TrimPrefix(text, "+"), "0123456789") == "" {
		return n // else strconv has not looked at what follows the first digits
	}
	if err != nil {
		return 0
	}
	return max(0, n)
}

// last is the number of the last page of total records. What the pages before it
// hold can be counted by an int.
func (p page) last(total int64) int {
	return int(max(1, min((total-1)/int64(p.size)+1, math.MaxInt/maxListLimit)))
}

// skip is how many records the pages before hold; ok is false behind the end.
func (p page) skip(total int64) (n int, ok bool) {
	if p.number > p.last(total) {
		return 0, false
	}
	return (p.number - 1) * p.size, true
}

// link is the Link header (RFC 8288) of the page of a list at base, or "".
func (p page) link(base string, total int64) string {
	last := p.last(total)
	// Clients cut the number out of the text: page comes last.
	query := "page="
	if len(p.query) > 0 {
		query = p.query.Encode() + "&page="
	}
	var links []string
	add := func(rel string, number int) {
		links = append(links, "<"+base+"?"+query+strconv.Itoa(number)+`>; rel="`+rel+`"`)
	}
	if p.number < last {
		add("next", p.number+1)
		add("last", last)
	}
	if p.number > 1 {
		add("first", 1)
		add("prev", min(p.number-1, last))
	}
	return strings.Join(links, ", ")
}
