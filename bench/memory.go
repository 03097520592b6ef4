package main

import (
	"context"

	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

// openMemory has no raw side: it shows what the Manager costs by itself.
func openMemory(d *data, _ options) (*backend, error) {
	// Creations are so fast that they would fill the machine: each pass begins
	// with a fresh store.
	s := &fresh{d: d}
	if err := s.begin(); err != nil {
		return nil, err
	}
	cases, err := storeCases(d, s, nil)
	if err != nil {
		return nil, err
	}
	for _, c := range cases {
		if c.name != "create" {
			continue
		}
		for i := range c.subjects {
			c.subjects[i].begin = s.begin
		}
	}
	return &backend{about: "No durability and no raw side: what the Manager costs by itself.", cases: cases, close: func() {}}, nil
}

// fresh is a store in memory that begin replaces by a new one with the data.
type fresh struct {
	store.Store
	d *data
}

func (f *fresh) begin() error {
	ctx := context.Background()
	f.Store = memory.New()
	for _, rec := range f.d.recs {
		if _, _, err := f.GetOrCreate(ctx, rec); err != nil {
			return err
		}
	}
	return loaded(ctx, f.d, f)
}
