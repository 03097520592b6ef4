package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// The embedded store: one file, created and migrated.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "authz")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	db, err := sqlite.Open(ctx, filepath.Join(dir, "authz.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	tokens, err := authz.New(db, authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	app, secret, err := tokens.RegisterApp(ctx, authz.NewApp{Name: "command line"})
	if err != nil {
		log.Fatal(err)
	}
	request := authz.Request{Owner: "1", ClientID: app.ClientID, ClientSecret: secret}
	for range 2 {
		result, err := tokens.GetOrCreate(ctx, request)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.Authorization.ID, result.Created, result.Token)
	}
	// Output:
	// 1 true [redacted]
	// 1 false
}

// A database that the host has opened already, for its own tables.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "authz")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := sql.Open("sqlite", filepath.Join(dir, "app.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store := sqlite.New(db)
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.Ready(context.Background()))
	// Output: <nil>
}
