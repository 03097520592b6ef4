package authz_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/memory"
)

func TestPurge(t *testing.T) {
	s := memory.New()
	m, clock := newManager(t, s, authz.Config{Lifetime: time.Hour, PurgeAfter: time.Hour})
	for i := range 2500 { // three batches
		mustGet(t, m, request(fingerprint(fmt.Sprint(i))))
	}
	clock.Add(time.Minute)
	late := mustGet(t, m, request(fingerprint("late")))
	clock.Add(2*time.Hour - time.Minute - time.Microsecond)
	if n, err := m.Purge(t.Context()); n != 0 || err != nil {
		t.Errorf("before its time: %d, %v", n, err)
	}
	clock.Add(time.Microsecond)
	if n, err := m.Purge(t.Context()); n != 2500 || err != nil {
		t.Errorf("Purge = %d, %v, want 2500", n, err)
	}
	if _, err := s.Get(t.Context(), owner, late.Authorization.ID); err != nil {
		t.Errorf("the one that has expired less than PurgeAfter ago: %v", err)
	}
	if _, err := (func() (*authz.Manager, error) {
		m, _ := newManager(t, unwatched{memory.New()}, authz.Config{})
		_, err := m.Purge(t.Context())
		return m, err
	})(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store that cannot: err = %v, want ErrUnsupported", err)
	}
}

func TestExpiringWithin(t *testing.T) {
	s := memory.New()
	m, clock := newManager(t, s, authz.Config{Lifetime: time.Hour})
	var want []int64
	for i := range 1001 { // more than a page
		want = append(want, mustGet(t, m, request(fingerprint(fmt.Sprint(i)))).Authorization.ID)
	}
	clock.Add(10 * time.Minute)
	mustGet(t, m, request(fingerprint("late")))
	forever, _ := authz.New(s, authz.Config{Now: clock.Now})
	mustGet(t, forever, request(fingerprint("for ever")))
	var got []int64
	for a, err := range m.ExpiringWithin(t.Context(), 50*time.Minute) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.ID)
	}
	if len(got) != len(want) || got[0] != want[0] || got[1000] != want[1000] {
		t.Errorf("%d within 50 minutes, want %d", len(got), len(want))
	}
	for a, err := range m.ExpiringWithin(t.Context(), 50*time.Minute-time.Microsecond) {
		t.Fatalf("just before: %v, %v", a.ID, err)
	}
	for range m.ExpiringWithin(t.Context(), time.Hour) {
		break // the caller may stop
	}
	clock.Add(50 * time.Minute)
	for a, err := range m.ExpiringWithin(t.Context(), 0) {
		t.Fatalf("those that have expired are no more expiring: %v, %v", a.ID, err)
	}
}

func TestUnused(t *testing.T) {
	s := memory.New()
	m, clock := newManager(t, s, authz.Config{})
	never, early, late := mustGet(t, m, request()), mustGet(t, m, request(fingerprint("early"))), mustGet(t, m, request(fingerprint("late")))
	touch := func(res authz.Result) {
		if err := s.Touch(t.Context(), []store.Use{{ID: res.Authorization.ID, At: clock.Now().UTC().Truncate(time.Microsecond)}}); err != nil {
			t.Fatal(err)
		}
	}
	clock.Add(time.Hour)
	touch(early)
	clock.Add(time.Hour)
	since := clock.Now()
	touch(late)
	mustGet(t, m, request(fingerprint("new")))
	var got []int64
	for a, err := range m.Unused(t.Context(), since) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.ID)
	}
	if want := []int64{never.Authorization.ID, early.Authorization.ID}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("unused: %v, want %v", got, want)
	}
	m2, _ := newManager(t, unwatched{memory.New()}, authz.Config{})
	for _, err := range m2.Unused(t.Context(), since) {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a store that cannot: err = %v, want ErrUnsupported", err)
		}
	}
}
