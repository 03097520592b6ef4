package migrate_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	_ "modernc.org/sqlite"

	"github.com/seed-926035fd/authz/internal/migrate"
	"github.com/seed-926035fd/authz/store"
)

func openDB(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func set(files map[string]string) migrate.Set {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys["m/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return migrate.Set{Part: "test", Begin: migrate.SQLite, Migrations: migrate.Load(fsys, "m")}
}

func missing(err error) bool { return strings.Contains(err.Error(), "no such table") }

// All or nothing: a migration that fails takes the ones before it back.
func TestFailureLeavesNothing(t *testing.T) {
	db := openDB(t)
	broken := set(map[string]string{
		"001_a.sql": "CREATE TABLE a (x INTEGER); CREATE TABLE b (x INTEGER);",
		"002_b.sql": "CREATE TABLE c (x INTEGER); CREATE TABLE a (x INTEGER);",
	})
	if err := migrate.Up(t.Context(), db, broken); err == nil || !strings.Contains(err.Error(), "002_b.sql") {
		t.Fatalf("Up = %v, want an error that names 002_b.sql", err)
	}
	var tables int
	if err := db.QueryRow("SELECT COUNT(*) FROM sqlite_master").Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables are left, %v; want none", tables, err)
	}
	if err := migrate.Check(t.Context(), db, broken, missing); !errors.Is(err, store.ErrSchema) {
		t.Errorf("Check = %v, want ErrSchema", err)
	}
	mended := set(map[string]string{"001_a.sql": "CREATE TABLE a (x INTEGER)", "002_b.sql": "CREATE TABLE b (x INTEGER)"})
	for range 2 {
		if err := migrate.Up(t.Context(), db, mended); err != nil {
			t.Fatal(err)
		}
	}
	if err := migrate.Check(t.Context(), db, mended, missing); err != nil {
		t.Error(err)
	}
}

// A database goes from version to version, and parts do not see each other.
func TestVersions(t *testing.T) {
	db := openDB(t)
	one := set(map[string]string{"001_a.sql": "CREATE TABLE a (x INTEGER)"})
	two := set(map[string]string{"001_a.sql": "CREATE TABLE a (x INTEGER)", "002_b.sql": "CREATE TABLE b (x INTEGER)"})
	other := set(map[string]string{"001_other.sql": "CREATE TABLE other (x INTEGER)"})
	other.Part = "other"
	for _, s := range []migrate.Set{one, other, two} {
		if err := migrate.Up(t.Context(), db, s); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		err  error
		want error
	}{
		"newer than the program":  {migrate.Up(t.Context(), db, one), store.ErrSchema},
		"check of a newer one":    {migrate.Check(t.Context(), db, one, missing), store.ErrSchema},
		"check of the right one":  {migrate.Check(t.Context(), db, two, missing), nil},
		"check of the other part": {migrate.Check(t.Context(), db, other, missing), nil},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want %v", name, tc.err, tc.want)
		}
	}
}

func TestLoadRefusesGaps(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Load took 001 and 003")
		}
	}()
	set(map[string]string{"001_a.sql": "", "003_c.sql": ""})
}

// A migration that is left out is recorded, and run by the first Set that wants it.
func TestSkip(t *testing.T) {
	db := openDB(t)
	files := map[string]string{
		"001_a.sql": "CREATE TABLE a (x INTEGER)",
		"002_b.sql": "CREATE TABLE b (x INTEGER)",
		"003_c.sql": "CREATE TABLE c (x INTEGER)",
	}
	all, some := set(files), set(files)
	some.Skip = func(m migrate.Migration) bool { return m.Version == 2 }
	tables := func() (n int) {
		t.Helper()
		if err := db.QueryRow("SELECT COUNT(*) FROM sqlite_master WHERE name IN ('a', 'b', 'c')").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, step := range []struct {
		set        migrate.Set
		before     error // of Check by a Set that wants all
		wantTables int
	}{
		{some, store.ErrSchema, 2}, {some, store.ErrSchema, 2}, {all, store.ErrSchema, 3}, {all, nil, 3}, {some, nil, 3},
	} {
		if err := migrate.Check(t.Context(), db, all, missing); !errors.Is(err, step.before) {
			t.Errorf("Check = %v, want %v", err, step.before)
		}
		if err := migrate.Up(t.Context(), db, step.set); err != nil {
			t.Fatal(err)
		}
		if n := tables(); n != step.wantTables {
			t.Errorf("%d tables, want %d", n, step.wantTables)
		}
		if err := migrate.Check(t.Context(), db, step.set, missing); err != nil {
			t.Error(err)
		}
	}
	var names string
	if err := db.QueryRow("SELECT GROUP_CONCAT(name) FROM authz_schema").Scan(&names); err != nil || names != "001_a.sql,002_b.sql,003_c.sql" {
		t.Errorf("recorded: %s, %v", names, err)
	}
}
