package memory_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func Example() {
	ctx := context.Background()
	s := memory.New()

	key := store.Key{Owner: "mona", ClientID: "abcde12345fghij67890"}
	for _, token := range []string{"first", "second"} {
		rec, created, err := s.GetOrCreate(ctx, store.Authorization{
			Key:       key,
			Scopes:    []string{"repo"},
			TokenHash: store.HashOf(token),
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(rec.ID, created)
	}
	// Output:
	// 1 true
	// 1 false
}
