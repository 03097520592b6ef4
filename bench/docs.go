package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// publish puts what was measured into a document, between comments such as
// "<!-- targets: begin -->" and "<!-- targets: end -->", and draws the plots
// beside it. What is written by hand around them stays.
func (r *report) publish(file string) error {
	doc, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(doc)
	for part, with := range map[string]string{"targets": r.head() + "\n" + r.targetTable(), "plots": r.plots(file), "figures": r.tables()} {
		if text, err = splice(text, part, with); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := r.draw(file); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

func splice(doc, part, text string) (string, error) {
	begin, end := "<!-- "+part+": begin -->\n", "<!-- "+part+": end -->"
	before, rest, ok := strings.Cut(doc, begin)
	if !ok {
		return "", fmt.Errorf("there is no %q", strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("there is no %q after its beginning", end)
	}
	return before + begin + "\n" + strings.Trim(text, "\n") + "\n\n" + end + after, nil
}

// growthRow is what bench/growth has measured: by how much the median latency of
// ours and of the raw statement have grown.
type growthRow struct {
	Backend   string  `json:"backend"`
	Operation string  `json:"operation"`
	Callers   int     `json:"callers"`
	From      int     `json:"from_rows"`
	To        int     `json:"to_rows"`
	Ours      float64 `json:"ours"`
	Raw       float64 `json:"raw"`
}

// growthTable has the rows of the target that another program measures, from its
// file.
func growthTable(file string) (string, error) {
	const format = "| %s | our latency grows no more than the raw statement's | %s | | %s |\n"
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf(format, "10 k to 10 M rows", "not measured", "`make bench-growth`"), nil
	}
	if err != nil {
		return "", err
	}
	var growth struct {
		Rows []growthRow `json:"growth"`
	}
	if err := json.Unmarshal(text, &growth); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if len(growth.Rows) == 0 {
		return "", fmt.Errorf("%s says nothing of growth", file)
	}
	var b strings.Builder
	for _, row := range growth.Rows {
		times := func(v float64) string { return fmt.Sprintf("%.2f", v) }
		measured := times(row.Ours)
		if round2(row.Ours) > round2(row.Raw) {
			measured = "**" + measured + "**"
		}
		what := fmt.Sprintf("%s rows to %s, %s, %s, %d callers", short(float64(row.From)), short(float64(row.To)), row.Backend, row.Operation, row.Callers)
		fmt.Fprintf(&b, format, what, measured+" times, raw "+times(row.Raw), "`make bench-growth`, [growth.md](growth.md)")
	}
	return b.String(), nil
}

// growthFile stands beside the document, or where it would.
func growthFile(docs string) string {
	if docs == "" {
		docs = "../docs/performance.md"
	}
	return filepath.Join(filepath.Dir(docs), "growth.json")
}
