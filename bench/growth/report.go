package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is all that was measured, as other programs read it too.
type report struct {
	When        time.Time         `json:"when"`
	Command     string            `json:"command"`
	Machine     string            `json:"machine"`
	About       map[string]string `json:"about"`
	Rows        []row             `json:"rows"`
	Growth      []growth          `json:"growth"`
	Loads       []load            `json:"loads"`
	Sizes       []size            `json:"sizes"`
	Partitions  parted            `json:"partitions"`
	Memory      *memoryFigures    `json:"cache,omitempty"`
	Interrupted bool              `json:"interrupted,omitempty"`
	Failed      []string          `json:"failed,omitempty"`
	plot        string            // its name as the report links it
}

// load says how long a table took.
type load struct {
	Backend string  `json:"backend"`
	Rows    int     `json:"rows"`
	Load    float64 `json:"load_s"`
	Indexes float64 `json:"indexes_s"`
}

// growth is a median at the most rows over that at the least.
type growth struct {
	Backend   string  `json:"backend"`
	Operation string  `json:"operation"`
	Callers   int     `json:"callers"`
	From      int     `json:"from_rows"`
	To        int     `json:"to_rows"`
	Ours      float64 `json:"ours"`
	Raw       float64 `json:"raw"`
}

type parted struct {
	Rows     int    `json:"table_rows"`
	Sizes    []size `json:"sizes"`
	Measured []row  `json:"rows"`
}

func (r *report) about(backend, text string) {
	if r.About == nil {
		r.About = map[string]string{}
	}
	r.About[backend] = text
}

// at finds a row; nil: it was not measured.
func (r *report) at(backend string, rows int, operation string, callers int, subject string) *row {
	for i := range r.Rows {
		if m := &r.Rows[i]; m.Backend == backend && m.Rows == rows && m.Operation == operation && m.Callers == callers && m.Subject == subject && m.N > 0 {
			return m
		}
	}
	return nil
}

// sizesOf are the numbers of rows that were measured.
func (r *report) sizesOf(backend string) (out []int) {
	for _, m := range r.Rows {
		if m.Backend == backend && !slices.Contains(out, m.Rows) {
			out = append(out, m.Rows)
		}
	}
	slices.Sort(out)
	return out
}

// kinds are the operations with their numbers of callers, in order.
func (r *report) kinds(backend string) (out []row) {
	for _, m := range r.Rows {
		kind := row{Backend: backend, Operation: m.Operation, Callers: m.Callers}
		if m.Backend == backend && !slices.Contains(out, kind) {
			out = append(out, kind)
		}
	}
	return out
}

func (r *report) grow() {
	r.Growth = nil
	for _, backend := range []string{"sqlite", "postgres"} {
		sizes := r.sizesOf(backend)
		if len(sizes) < 2 {
			continue
		}
		from, to := sizes[0], sizes[len(sizes)-1]
		for _, k := range r.kinds(backend) {
			factor := func(subject string) float64 {
				least, most := r.at(backend, from, k.Operation, k.Callers, subject), r.at(backend, to, k.Operation, k.Callers, subject)
				if least == nil || most == nil {
					return 0
				}
				return most.P50 / least.P50
			}
			if ours, raw := factor(ours), factor(raw); ours > 0 && raw > 0 {
				r.Growth = append(r.Growth, growth{backend, k.Operation, k.Callers, from, to, ours, raw})
			}
		}
	}
}

func (r *report) markdown() string {
	r.grow()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Growth\n")
	line("What a growing table costs. Written by `%s` on %s; what follows from it: [scaling.md](scaling.md).\n", r.Command, r.When.Format("2006-01-02"))
	line("A fifth as many users as rows, five authorizations each over %d apps, the fifth of every fourth user a personal one, and one user with %s; one in %d has expired. "+
		"Keys are drawn evenly from the whole table: there is no hot set. The store's calls and the raw prepared statements on the same driver and table take turns; "+
		"“8” is with eight callers at once. Times are microseconds.\n", apps, count(heavyRows), expiredPart)
	line("Machine: %s.", r.Machine)
	for _, backend := range []string{"sqlite", "postgres"} {
		if text := r.About[backend]; text != "" {
			line("%s.", text)
		}
	}
	if r.Interrupted {
		line("\nInterrupted: incomplete.")
	}
	for _, failed := range r.Failed {
		line("\n**Failed:** %s", failed)
	}
	if r.plot != "" {
		line("\n![Latency against rows](%s)", r.plot)
	}

	if len(r.Growth) > 0 {
		line("\n## Does our latency grow more than the raw statement's?\n")
		line("How many times as long the median takes with the most rows as with the least. “ours ÷ raw” at most 1 is what is wanted; **bold** is what is more than a tenth above.\n")
		line("| store | operation | callers | rows | ours | raw | ours ÷ raw |\n|---|---|--:|---|--:|--:|--:|")
		for _, g := range r.Growth {
			ratio := strconv.FormatFloat(g.Ours/g.Raw, 'f', 2, 64)
			if g.Ours/g.Raw > 1.1 {
				ratio = "**" + ratio + "**"
			}
			line("| %s | %s | %d | %s → %s | %.2f | %.2f | %s |", g.Backend, g.Operation, g.Callers, count(float64(g.From)), count(float64(g.To)), g.Ours, g.Raw, ratio)
		}
	}
	for _, backend := range []string{"sqlite", "postgres"} {
		sizes := r.sizesOf(backend)
		if len(sizes) == 0 {
			continue
		}
		line("\n## Latency: %s\n", backend)
		head, rule := "| operation | callers |", "|---|--:|"
		for _, rows := range sizes {
			head += fmt.Sprintf(" %s rows: p50 / p99 | raw |", count(float64(rows)))
			rule += "--:|--:|"
		}
		line("%s\n%s", head, rule)
		for _, k := range r.kinds(backend) {
			text := fmt.Sprintf("| %s | %d |", k.Operation, k.Callers)
			for _, rows := range sizes {
				for _, subject := range []string{ours, raw} {
					if m := r.at(backend, rows, k.Operation, k.Callers, subject); m != nil {
						text += fmt.Sprintf(" %s / %s |", micro(m.P50), micro(m.P99))
					} else {
						text += " |"
					}
				}
			}
			line("%s", text)
		}
	}
	r.bytes(line)
	r.partitions(line)
	if text := r.capacity(); text != "" {
		line("\n%s", strings.TrimSuffix(text, "\n"))
	}
	return b.String()
}

// bytes writes what the tables take, and how long they took.
func (r *report) bytes(line func(format string, args ...any)) {
	for _, backend := range []string{"sqlite", "postgres"} {
		var relations []string
		var loads []load
		for _, s := range r.Sizes {
			if s.Backend == backend && !slices.Contains(relations, s.Relation) {
				relations = append(relations, s.Relation)
			}
		}
		for _, l := range r.Loads {
			if l.Backend == backend {
				loads = append(loads, l)
			}
		}
		if len(loads) == 0 {
			continue
		}
		line("\n## Bytes for each row: %s\n", backend)
		head, rule := "| |", "|---|"
		for _, l := range loads {
			head += fmt.Sprintf(" %s rows |", count(float64(l.Rows)))
			rule += "--:|"
		}
		line("%s\n%s", head, rule)
		total := make([]float64, len(loads))
		for _, relation := range relations {
			text := "| " + strings.TrimPrefix(relation, "authz_authorizations_") + " |"
			for i, l := range loads {
				for _, s := range r.Sizes {
					if s.Backend == backend && s.Rows == l.Rows && s.Relation == relation {
						text += fmt.Sprintf(" %.1f |", s.PerRow)
						total[i] += s.PerRow
					}
				}
			}
			line("%s", text)
		}
		sum, all, took := "| **sum** |", "| in all |", "| seconds to load, and to make the indexes |"
		for i, l := range loads {
			sum += fmt.Sprintf(" **%.0f** |", total[i])
			all += fmt.Sprintf(" %s |", bytesOf(total[i]*float64(l.Rows)))
			took += fmt.Sprintf(" %.1f + %.1f |", l.Load, l.Indexes)
		}
		line("%s\n%s\n%s", sum, all, took)
	}
}

func (r *report) partitions(line func(format string, args ...any)) {
	if len(r.Partitions.Measured) == 0 {
		return
	}
	line("\n## Partitions by owner\n")
	line("PostgreSQL, %s rows: copies without triggers, with the indexes that every row is in. What is unique in a table with partitions must hold the owner: "+
		"there `token_hash` and `id` alone are not.\n", count(float64(r.Partitions.Rows)))
	line("| operation | callers | by | p50 | p99 | ÷ one table |\n|---|--:|---|--:|--:|--:|")
	base := 0.0
	for _, m := range r.Partitions.Measured {
		if m.Subject == copies[0].name {
			base = m.P50
		}
		line("| %s | %d | %s | %s | %s | %.2f |", m.Operation, m.Callers, m.Subject, micro(m.P50), micro(m.P99), m.P50/base)
	}
	line("\n| | bytes for each row |\n|---|--:|")
	for _, s := range r.Partitions.Sizes {
		line("| %s, with its indexes | %.0f |", s.Relation, s.PerRow)
	}
}

// micro writes microseconds with three digits at least.
func micro(us float64) string {
	switch {
	case us >= 100:
		return thousands(us)
	case us >= 10:
		return strconv.FormatFloat(us, 'f', 1, 64)
	}
	return strconv.FormatFloat(us, 'f', 2, 64)
}

func thousands(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count writes a number that need not be exact.
func count(v float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e9, " G"}, {1e6, " M"}, {1e3, " k"}} {
		if v >= unit.of {
			return strconv.FormatFloat(v/unit.of, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func bytesOf(v float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if v >= unit.of {
			return strconv.FormatFloat(v/unit.of, 'f', 2, 64) + " " + unit.name
		}
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " B"
}

func machine() string {
	model := ""
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for in := bufio.NewScanner(f); in.Scan(); {
			if name, value, ok := strings.Cut(in.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value) + ", "
				break
			}
		}
	}
	return fmt.Sprintf("%s%d CPUs, %s %s/%s; client and database share it", model, runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
