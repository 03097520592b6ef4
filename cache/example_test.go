package cache_test

import (
	"context"
	"fmt"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store/memory"
)

func ExampleNew() {
	ctx := context.Background()
	m, err := authz.New(memory.New(), authz.Config{Cache: cache.New(100_000)})
	if err != nil {
		panic(err)
	}
	if err := m.Start(ctx); err != nil { // from here on Verify answers from memory
		panic(err)
	}
	defer m.Close(ctx)

	made, err := m.Create(ctx, authz.Request{Owner: "mona", Note: "laptop", Scopes: []string{"repo"}})
	if err != nil {
		panic(err)
	}
	a, err := m.Verify(ctx, made.Token.Reveal())
	fmt.Println(a.Owner, a.Scopes, err)

	if err := m.Delete(ctx, "mona", a.ID); err != nil {
		panic(err)
	}
	_, err = m.Verify(ctx, made.Token.Reveal())
	fmt.Println(err)
	// Output:
	// mona [repo] <nil>
	// authz: invalid token
}
