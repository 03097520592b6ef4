// Package sqlite is the embedded store: one file, any number of processes on
// the same machine, every acknowledged change on disk.
//
// [Open] sets everything right. [New] takes a database that the host has
// opened already, with whatever SQLite driver it uses: the store's statements
// are right under any settings, since it repeats what SQLite refuses as busy
// and begins its transactions IMMEDIATE. Durability is then the host's
// business: WAL with synchronous=FULL loses nothing, NORMAL can lose the last
// commits when the machine loses power.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/seed-926035fd/authz/internal/migrate"
	"github.com/seed-926035fd/authz/internal/sqlerr"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/internal/sqlstore"
)

//go:embed migrations
var migrations embed.FS

// Store implements [store.Store] and [store.Housekeeper]. It is safe for use by many goroutines, and
// any number of Stores in any number of processes may share one file.
type Store struct {
	store.Store       // the contract
	store.Housekeeper // and what goes with it
	sql               *sqlstore.Store
	host              *sql.DB // what DB returns
	owned             bool
}

var (
	_ store.Store       = (*Store)(nil)
	_ store.Housekeeper = (*Store)(nil)
)

// New returns a Store on db, which it borrows: closing it is the caller's
// business. Call Migrate before the first use. db must not be an in-memory
// database with more than one connection, since each would see its own.
func New(db *sql.DB) *Store { return newStore(db, 0, 0) }

func newStore(db *sql.DB, readers, calls int) *Store {
	s := sqlstore.New(db, sqlstore.Dialect{
		Name: "store/sqlite",
		Schema: migrate.Set{
			Part:       "store",
			Migrations: migrate.Load(migrations, "migrations"),
			Begin:      migrate.SQLite,
		},
		Begin:    "BEGIN IMMEDIATE",
		Prepared: true,
		Calls:    calls,
		Readers:  readers,
		// SQLite has one writer at a time. Waiting here is fair and wakes at
		// once; waiting in SQLite is neither.
		Grouped: true,
		Uses:    `SELECT CAST(key AS INTEGER) AS used_id, CAST(value AS INTEGER) AS used_at FROM json_each($1)`,
		Advice:  advice,
	})
	return &Store{Store: s, Housekeeper: s, sql: s, host: db}
}

// Open opens the database file at path, creating it (readable by its owner
// alone) if it does not exist, and migrates it. The caller must Close the
// Store.
//
// The file is in WAL mode with synchronous=FULL: what was acknowledged
// survives a crash of the process and of the machine. It must not lie on a
// network file system (https://sqlite.org/wal.html).
func Open(ctx context.Context, path string) (*Store, error) {
	if path == "" || path == ":memory:" || strings.HasPrefix(path, "file:") {
		return nil, fmt.Errorf("store/sqlite: open: %q is not the path of a file: give one such as authz.db, or use package store/memory", path)
	}
	if err := create(path); err != nil {
		return nil, err
	}
	// One pool to read, one connection to write, and a pool for the host, who must
	// not be able to take these away. Idle connections are kept: opening one costs
	// more than any statement. Twice as many readers as cores leave no core idle
	// while the next one wakes; more only wait for each other.
	readers := 2 * runtime.GOMAXPROCS(0)
	var pools [3]*sql.DB
	for i, conns := range []int{readers + walks + 1, 1, max(4, readers) + 1} { // one more for Watch
		db, err := sql.Open("sqlite", dsn(path))
		if err != nil {
			return nil, fmt.Errorf("store/sqlite: open %s: %w", path, err)
		}
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
		pools[i] = db
	}
	s := newStore(pools[0], readers, walks)
	s.sql.WriteOn(pools[1])
	s.owned, s.host = true, pools[2]
	if err := s.prepareFile(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("store/sqlite: open %s: %w", path, err)
	}
	return s, nil
}

// walks is how many calls that can read many rows run at once.
const walks = 4

// Migrate creates or updates the tables. It does nothing if they are up to
// date, may be called by many processes at once, and refuses a database that a
// newer version of this module has migrated: errors.Is(err, store.ErrSchema).
func (s *Store) Migrate(ctx context.Context) error { return s.sql.Migrate(ctx, s.sql.DB()) }

// Ready returns nil if the database answers and its schema is the one that this
// program needs. It wraps store.ErrSchema if the schema is another.
func (s *Store) Ready(ctx context.Context) error { return s.sql.Ready(ctx) }

// DB returns the database that the Store works on, for other tables of the
// host, such as those of package account: after Open, a pool that the Store itself
// does not use. The caller must not close it.
func (s *Store) DB() *sql.DB { return s.host }

// Close ends the Store: it closes its statements, and the database if Open
// opened it. Calls under way fail.
func (s *Store) Close() error {
	err := s.sql.Close(s.owned)
	if s.owned {
		err = errors.Join(err, s.host.Close())
	}
	return err
}

func (s *Store) prepareFile(ctx context.Context) error {
	// WAL is a property of the file. Setting it needs the file alone for a
	// moment, which processes that start together do not leave each other.
	if err := s.sql.Exec(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	return s.Migrate(ctx)
}

// making is held while create has a descriptor of a database file.
var making sync.Mutex

// create makes the file, so that it is never readable by others, not even
// while SQLite is creating it. A file that is there is not opened: to close it
// again would end all locks that this process has on it, those of other Stores
// included (https://sqlite.org/howtocorrupt.html, section 2.2).
func create(path string) error {
	making.Lock()
	defer making.Unlock()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return f.Close()
	}
	if errors.Is(err, fs.ErrExist) {
		var info fs.FileInfo
		switch info, err = os.Stat(path); {
		case err != nil: // such as a link that leads nowhere
		case info.IsDir():
			err = &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
		default:
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store/sqlite: open %s: the folder %s does not exist: create it first", path, filepath.Dir(path))
	}
	return fmt.Errorf("store/sqlite: open: %w", err)
}

// dsn is the driver's form of path, with the settings of each connection.
func dsn(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") { // C:/…
		abs = "/" + abs
	}
	query := url.Values{"_pragma": {
		// Short: a longer wait belongs to the caller's context, which SQLite
		// does not see while it waits.
		"busy_timeout(100)",
		"synchronous(FULL)",
		// Four times SQLite's own: what was copied back is written again by the
		// next transactions, since tokens are everywhere in their index.
		"wal_autocheckpoint(4000)",
		"foreign_keys(1)",
	}, "_txlock": {"immediate"}}
	return (&url.URL{Scheme: "file", Path: abs, RawQuery: query.Encode()}).String()
}

// advice says what to do about the errors that people meet.
func advice(err error) string {
	switch sqlerr.Code(err) & 0xff {
	case sqlerr.SQLiteNotADB, sqlerr.SQLiteCorrupt:
		return "the file is not an SQLite database, or it is damaged: give another path, or restore a backup"
	case sqlerr.SQLiteReadOnly, sqlerr.SQLiteCantOpen:
		return "the file or its folder cannot be opened for writing: change its permissions"
	case sqlerr.SQLiteFull:
		return "the disk is full: free some space; nothing that was acknowledged is lost, and no restart is needed"
	case sqlerr.SQLiteIOErr:
		return "the disk refuses to read or write: see whether it is full or failing"
	case sqlerr.SQLiteBusy, sqlerr.SQLiteLocked:
		return "another process holds the file for too long: end it, or give the call more time"
	}
	return ""
}
