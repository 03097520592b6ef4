package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes a result: v with --json, else what text writes.
func (p *program) print(v any, text func(w io.Writer)) error {
	var out strings.Builder
	if p.json {
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err
		}
	} else {
		text(&out)
	}
	if _, err := io.WriteString(p.stdout, out.String()); err != nil {
		return fmt.Errorf("the result could not be written, what was asked for is done: %w", err)
	}
	return nil
}

// table aligns rows whose cells are separated by tabs.
func table(w io.Writer, rows ...string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, row)
	}
	_ = tw.Flush()
}

// row joins cells.
func row(cells ...string) string { return strings.Join(cells, "\t") }

// say tells people something beside the result. With --json nobody reads it.
func (p *program) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.stderr, format+"\n", args...)
	}
}

// timestamp is a time in JSON; the zero time is null.
type timestamp time.Time

func (t timestamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.String())
}

func (t timestamp) String() string {
	if time.Time(t).IsZero() {
		return "never"
	}
	return time.Time(t).UTC().Format(time.RFC3339)
}

// yes says a boolean to people.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// orDash stands for an empty cell.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
