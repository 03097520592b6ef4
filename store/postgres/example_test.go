package postgres_test

import (
	"context"
	"database/sql"
	"log"

	"github.com/seed-926035fd/authz"
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
