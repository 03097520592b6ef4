package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// population is what a table holds: each record follows from its number, so that
// none has to be kept to be asked for.
type population struct {
	rows int
	now  time.Time // when all this is
}

const (
	apps        = 200
	perOwner    = 5    // authorizations of a usual owner
	heavyRows   = 1000 // of the heavy one
	heavyOwner  = "heavy"
	expiredPart = 20 // one in so many has expired
)

func newPopulation(rows int) population {
	return population{rows, time.Now().UTC().Truncate(time.Microsecond)}
}

// owners is the number of usual owners.
func (p population) owners() int { return max(1, (p.rows-p.heavy())/perOwner) }

// heavy is the number of the heavy owner's records, spread over the whole table.
func (p population) heavy() int { return min(heavyRows, p.rows/10) }

func ownerName(n int) string { return fmt.Sprintf("user-%08d", n) }

func clientID(n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "app %d", n))
	return hex.EncodeToString(sum[:10])
}

// clientIDs are made once: there are few, and very many records.
var clientIDs = func() (ids [apps]string) {
	for i := range ids {
		ids[i] = clientID(i)
	}
	return ids
}()

// app is one of those that the records are for.
func (p population) app(n int) store.App {
	at := p.now.Add(-3 * 365 * 24 * time.Hour)
	return store.App{
		ClientID: clientIDs[n], Name: fmt.Sprintf("app %d", n), URL: fmt.Sprintf("https://app-%d.example", n),
		CreatedAt: at, UpdatedAt: at,
	}
}

// record is the one with the ID i + 1. Owners come back: the records of one are
// spread over the whole table, as time spreads them.
func (p population) record(i int) store.Authorization {
	stride := p.rows / p.heavy()
	created := p.now.Add(-time.Duration(p.rows-i) * (2 * 365 * 24 * time.Hour / time.Duration(p.rows))).Truncate(time.Microsecond)
	a := store.Authorization{
		ID: int64(i) + 1, Revision: 1,
		Scopes: []string{"repo", "user:email"}, Note: "command line of the example shop", NoteURL: "https://shop.example/help/tokens",
		CreatedAt: created, UpdatedAt: created, IssuedAt: created,
	}
	if j := i / stride; i%stride == 0 && j < p.heavy() {
		a.Owner, a.ClientID, a.Fingerprint = heavyOwner, clientIDs[j%apps], fmt.Sprintf("runner-%04d", j)
	} else {
		rank := i - min(p.heavy(), (i+stride-1)/stride)
		owner, visit := rank%p.owners(), rank/p.owners()
		a.Owner, a.ClientID, a.Fingerprint = ownerName(owner), clientIDs[(owner+41*visit)%apps], fmt.Sprintf("laptop-%04x", owner*31%65536)
		if visit == perOwner-1 && owner%4 == 0 { // a personal one
			a.ClientID, a.Fingerprint, a.Note = "", "", fmt.Sprintf("backup script %d", rank)
		}
		if visit >= perOwner { // what the division has left over
			a.Fingerprint += "-2"
		}
	}
	var seed [16]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	binary.BigEndian.PutUint64(seed[8:], uint64(p.rows))
	a.TokenHash = sha256.Sum256(seed[:])
	a.TokenLastEight = hex.EncodeToString(a.TokenHash[:4]) // of no token: nobody looks
	switch age := time.Duration(p.rows-i) * time.Second; i % expiredPart {
	case 7:
		a.ExpiresAt = p.now.Add(-age)
	case 1, 4, 9, 12, 15:
		a.ExpiresAt = p.now.Add(24*time.Hour + age)
	}
	if i%5 < 3 {
		a.LastUsedAt = p.now.Add(-time.Duration(i%1_000_000) * time.Second)
	}
	return a
}

// any draws one of all records.
func (p population) any(rng *rand.Rand) store.Authorization { return p.record(rng.IntN(p.rows)) }

// live draws one of those that a get-or-create finds.
func (p population) live(rng *rand.Rand) store.Authorization {
	for {
		if a := p.any(rng); a.ClientID != "" && !a.Expired(p.now) {
			return a
		}
	}
}

// fresh is a record that is not there, under a new key of a usual owner.
func (p population) fresh(rng *rand.Rand) store.Authorization {
	a := p.record(0)
	a.ID, a.LastUsedAt, a.ExpiresAt = 0, time.Time{}, time.Time{}
	a.Owner, a.ClientID = ownerName(rng.IntN(p.owners())), clientIDs[rng.IntN(apps)]
	a.Fingerprint = fmt.Sprintf("new-%016x", rng.Uint64())
	a.CreatedAt, a.UpdatedAt, a.IssuedAt = p.now, p.now, p.now
	for i := 0; i < len(a.TokenHash); i += 8 {
		binary.NativeEndian.PutUint64(a.TokenHash[i:], rng.Uint64())
	}
	return a
}
