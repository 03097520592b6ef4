package authz

import (
	"strconv"
	"unicode/utf8"
)

// layout writes JSON as the seed document lays it out, which is what encoding/json
// makes with an indent of two spaces and without escapes for HTML. What is answered
// often goes this way: to the byte the same, without reflection.
type layout struct {
	b      []byte
	indent int
	filled bool // the object or array that is open has something in it
}

// laidOut is what can be written by a layout.
type laidOut interface{ layOut(l *layout) }

func (l *layout) line() {
	l.b = append(l.b, '\n')
	for range l.indent {
		l.b = append(l.b, "  "...)
	}
}

// item begins what stands in an object or array.
func (l *layout) item() {
	if l.filled {
		l.b = append(l.b, ',')
	}
	l.filled = true
	l.line()
}

func (l *layout) open(bracket byte) {
	l.b = append(l.b, bracket)
	l.indent++
	l.filled = false
}

func (l *layout) close(bracket byte) {
	if l.indent--; l.filled {
		l.line()
	}
	l.b = append(l.b, bracket)
	l.filled = true // what it stands in
}

// key begins a member. It is a name that needs no escapes.
func (l *layout) key(name string) {
	l.item()
	l.b = append(l.b, '"')
	l.b = append(l.b, name...)
	l.b = append(l.b, `": `...)
}

func (l *layout) text(name, value string) {
	l.key(name)
	l.b = appendText(l.b, value)
}

// textIf leaves out the empty string.
func (l *layout) textIf(name, value string) {
	if value != "" {
		l.text(name, value)
	}
}

func (l *layout) number(name string, value int64) {
	l.key(name)
	l.b = strconv.AppendInt(l.b, value, 10)
}

func (l *layout) texts(name string, values []string) {
	l.key(name)
	l.open('[')
	for _, v := range values {
		l.item()
		l.b = appendText(l.b, v)
	}
	l.close(']')
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		var r rune
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		b = append(b, s[done:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			if c < ' ' {
				r = rune(c)
			}
			b = append(b, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
		}
		i += size
		done = i
	}
	return append(append(b, s[done:]...), '"')
}
