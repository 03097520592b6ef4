package postgres_test

import (
	"context"
	"database/sql"
	"log"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store/postgres"
)

// Several nodes on a cluster with a standby: the one that takes writes is found
// by itself.
func ExampleOpen() {
	db, err := postgres.Open(context.Background(),
		"postgres://authz@db1,db2/app?port=5432&target_session_attrs=read-write&pool_max_conns=20")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	tokens, err := authz.New(db, authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	_ = tokens
}

// A database that the host has opened already, here with lib/pq; pgx's stdlib
// driver does as well.
func ExampleNew() {
	db, err := sql.Open("postgres", "postgres://app@localhost/app")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(20) // before New
	db.SetMaxIdleConns(20)
	store := postgres.New(db)
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// The pool leads through PgBouncer in transaction mode, where LISTEN hears nothing:
// Watch gets a way of its own to the server.
func ExampleStore_ListenOn() {
	ctx := context.Background()
	s, err := postgres.Open(ctx, "postgres://app@pooler:6432/shop?pool_mode=transaction")
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.ListenOn("postgres://app@primary:5432/shop"); err != nil {
		log.Fatal(err)
	}
	m, err := authz.New(s, authz.Config{Cache: cache.New(100_000)})
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer m.Close(ctx)
}
