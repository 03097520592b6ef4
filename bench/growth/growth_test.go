package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz/internal/pgtest"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// testServer is one for the test, with fsync off.
func testServer(t *testing.T) *server {
	t.Helper()
	s, err := pgtest.Start(pgtest.Options{})
	if errors.Is(err, pgtest.ErrNotFound) && os.Getenv(pgtest.EnvRequire) != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &server{dsn: s.DSN()}
}

const testRows = 10_000

// All that is loaded is what the population says, as the store reads it.
func TestLoaded(t *testing.T) {
	for backend, open := range openers {
		t.Run(backend, func(t *testing.T) {
			on := new(server)
			if backend == "postgres" {
				on = testServer(t)
			}
			ctx, p := t.Context(), newPopulation(testRows)
			d, err := open(ctx, p, on, func(string, int) {})
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			for i := range p.rows {
				want := p.record(i)
				if got, err := d.store.Get(ctx, want.Owner, want.ID); err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("record %d: %+v, %v; want %+v", i, got, err, want)
				}
			}
			owners := map[string]int{}
			for i := range p.rows {
				owners[p.record(i).Owner]++
			}
			if len(owners) != p.owners()+1 || owners[heavyOwner] != heavyRows {
				t.Errorf("%d owners, the heavy one with %d", len(owners), owners[heavyOwner])
			}
			owner := ownerName(7)
			if n, err := d.store.Count(ctx, store.Selection{Owner: &owner}); err != nil || n != perOwner {
				t.Errorf("%s has %d, %v", owner, n, err)
			}
			next, _, err := d.store.GetOrCreate(ctx, p.fresh(rand.New(rand.NewPCG(1, 2))))
			if err != nil || next.ID <= int64(p.rows) {
				t.Errorf("the next ID is %d, %v", next.ID, err)
			}
		})
	}
}

// The schema after a load is that of the migrations.
func TestSchema(t *testing.T) {
	ctx, p := t.Context(), newPopulation(1000)
	t.Run("sqlite", func(t *testing.T) {
		fresh, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "fresh.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		d, err := openSQLite(ctx, p, nil, func(string, int) {})
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		want, err := schemaOfSQLite(ctx, fresh.DB())
		if err != nil {
			t.Fatal(err)
		}
		got, err := schemaOfSQLite(ctx, d.db)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Run("postgres", func(t *testing.T) {
		on := testServer(t)
		fresh, err := postgres.Open(ctx, on.dsn) // in the schema public
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		d, err := openPostgres(ctx, p, on, func(string, int) {})
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		want, err := schemaOfPostgres(ctx, fresh.DB())
		if err != nil {
			t.Fatal(err)
		}
		got, err := schemaOfPostgres(ctx, d.db)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// The program measures each operation at each size, and says so in each of its files.
func TestReport(t *testing.T) {
	on, dir := testServer(t), t.TempDir()
	md, svg, figures := filepath.Join(dir, "growth.md"), filepath.Join(dir, "growth.svg"), filepath.Join(dir, "growth.json")
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-rows", "2000,10000", "-partitions", "2000", "-pass", "1ms", "-cached", "1000", "-dsn", on.dsn, "-o", md, "-plot", svg, "-json", figures}, io.Discard, &stderr); code != 0 {
		t.Fatalf("code %d: %s", code, &stderr)
	}
	data, err := os.ReadFile(figures)
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(md)
	if err != nil {
		t.Fatal(err)
	}
	for _, backend := range []string{"sqlite", "postgres"} {
		for _, o := range (&database{population: newPopulation(1000)}).operations() {
			for _, callers := range o.callers {
				for _, rows := range []int{2000, testRows} {
					for _, subject := range []string{ours, raw} {
						if rep.at(backend, rows, o.name, callers, subject) == nil {
							t.Errorf("%s, %d rows: no figures of %s, %d callers, %s", backend, rows, o.name, callers, subject)
						}
					}
				}
				if !slices.ContainsFunc(rep.Growth, func(g growth) bool {
					return g.Backend == backend && g.Operation == o.name && g.Callers == callers && g.Ours > 0 && g.Raw > 0
				}) {
					t.Errorf("%s: no growth of %s, %d callers", backend, o.name, callers)
				}
			}
			if !bytes.Contains(text, []byte("| "+o.name+" |")) {
				t.Errorf("the report is without %s", o.name)
			}
		}
	}
	for _, part := range []string{"## Partitions by owner", "a table tells the owner", "## One billion authorizations", "token_hash", "](growth.svg)"} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("the report is without %q", part)
		}
	}
	if picture, err := os.ReadFile(svg); err != nil || !bytes.Contains(picture, []byte("</svg>")) {
		t.Errorf("no plot: %v", err)
	}
}

// An interrupt ends the program with a report, and leaves no file behind.
func TestInterrupted(t *testing.T) {
	for _, at := range []string{"loaded", "index 3/8", "verify"} {
		t.Run(at, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := writerFunc(func(p []byte) (int, error) {
				if bytes.Contains(p, []byte(at)) {
					cancel()
				}
				return len(p), nil
			})
			var stdout bytes.Buffer
			if code := run(ctx, []string{"-rows", "10000", "-backends", "sqlite", "-pass", "300ms", "-cached", "10"}, &stdout, stop); code != 130 {
				t.Errorf("code %d", code)
			}
			text := stdout.String()
			if !strings.Contains(text, "Interrupted: incomplete.") || strings.Contains(text, "Failed") || at == "verify" && !strings.Contains(text, "| get | 1 |") {
				t.Errorf("the report does not say it, or is without what was measured:\n%s", text)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
