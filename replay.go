package authz

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/seed-926035fd/authz/store"
)

// ReplayWindow is how long the answer to a request with an Idempotency-Key can
// be had again. It ends before that when the token is used or expires.
const ReplayWindow = 10 * time.Minute

// The length of an Idempotency-Key, in characters.
const (
	minIdempotencyKey = 16
	maxIdempotencyKey = 255
)

// idempotencyKeyField names the key in errors, as the header does.
const idempotencyKeyField = "Idempotency-Key"

func (p *problems) idempotencyKey(key Secret) {
	text := key.Reveal()
	if text == "" {
		return
	}
	ok := len(text) >= minIdempotencyKey && len(text) <= maxIdempotencyKey
	for i := range len(text) {
		ok = ok && text[i] > ' ' && text[i] <= '~'
	}
	if !ok {
		p.invalid(idempotencyKeyField, "must be %d to %d visible ASCII characters", minIdempotencyKey, maxIdempotencyKey)
	}
}

// replayKey is what an Idempotency-Key is turned into. The key itself is kept
// nowhere: the store has an ID that is derived from it, and the token sealed
// under another key that is derived from it. A nil replayKey keeps nothing.
type replayKey struct {
	id      store.Hash
	aead    cipher.AEAD
	request [sha256.Size]byte // what was asked for, as a keyed hash
}

// spent is what is left of a Replay.Seal when its answer was received, or is no
// answer any more: the keyed hash of the request, behind which the sealed answer
// stood. It stays, for a key is good for one request.
func spent(seal []byte) []byte { return seal[:min(len(seal), sha256.Size)] }

// holdsAnswer reports whether a seal is not spent.
func holdsAnswer(seal []byte) bool { return len(seal) > sha256.Size }

// replayKey derives the request's key, for its owner alone.
func (req Request) replayKey(operation string) *replayKey {
	if req.IdempotencyKey.IsZero() { // nothing is gathered for nothing
		return nil
	}
	return newReplayKey(req.IdempotencyKey, "user "+req.Owner,
		operation, req.ClientID, req.Fingerprint, req.Scopes, req.Note, req.NoteURL, cmp.Or(req.OnExisting, OnExistingReturn))
}

// newReplayKey returns nil for the zero key. sender is who the key belongs to:
// others may use the same one. request is all that must be the same in a
// repetition.
func newReplayKey(key Secret, sender string, request ...any) *replayKey {
	if key.IsZero() {
		return nil
	}
	derive := func(purpose string) []byte {
		out, err := hkdf.Key(sha256.New, []byte(key.Reveal()), nil, "authz idempotency "+purpose+" of "+sender, sha256.Size)
		if err != nil {
			panic(err) // only if the length were wrong
		}
		return out
	}
	block, err := aes.NewCipher(derive("seal"))
	if err != nil {
		panic(err) // only if the length were wrong
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // never with AES
	}
	text, err := json.Marshal(request)
	if err != nil {
		panic(err) // strings and slices of them can be marshalled
	}
	mac := hmac.New(sha256.New, derive("request"))
	mac.Write(text)
	return &replayKey{id: store.Hash(derive("id")), aead: aead, request: [sha256.Size]byte(mac.Sum(nil))}
}

// bound is what a seal is bound to beside its key.
func (k *replayKey) bound(request []byte) []byte { return append(k.id[:], request...) }

// seal returns the Replay to keep with a token made at now.
func (k *replayKey) seal(token Secret, created bool, now time.Time) store.Replay {
	if k == nil {
		return store.Replay{}
	}
	text := make([]byte, 1, 64)
	if created {
		text[0] = 1
	}
	text = append(text, token.Reveal()...)
	seal := append(k.request[:], k.aead.Seal(nil, nil, text, k.bound(k.request[:]))...)
	return store.Replay{ID: k.id, Seal: seal, ExpiresAt: now.Add(ReplayWindow)}
}

// made reports whether rec's token was made by a request with this key.
func (k *replayKey) made(rec Authorization) bool { return k != nil && rec.Replay.ID == k.id }

// open returns the answer that is kept with rec. Errors: a [*ValidationError] if
// it is the answer to another request; *usedError.
func (k *replayKey) open(rec Authorization) (Result, error) {
	seal := rec.Replay.Seal
	request := spent(seal)
	damaged := len(request) != sha256.Size
	var text []byte
	if holdsAnswer(seal) {
		var err error
		text, err = k.aead.Open(nil, nil, seal[len(request):], k.bound(request))
		damaged = err != nil || len(text) == 0
	}
	if damaged {
		return Result{}, fmt.Errorf("authz: replay: the sealed answer of authorization %d is damaged", rec.ID)
	}
	if !hmac.Equal(request, k.request[:]) {
		var p problems
		p.add(idempotencyKeyField, CodeCustom, "Idempotency-Key was used for another request")
		return Result{}, p.err()
	}
	if text == nil {
		return Result{}, &usedError{rec.Key}
	}
	return Result{
		Authorization: rec,
		Token:         NewSecret(string(text[1:])),
		Created:       text[0] == 1,
		Replayed:      true,
	}, nil
}

// usedError says that the answer was received, its token is in use, or that the
// token was replaced since.
type usedError struct{ key store.Key }

func (e *usedError) Error() string { return e.validation().Error() }

// As makes it the validation error that callers see.
func (e *usedError) As(target any) bool {
	validation, ok := target.(**ValidationError)
	if ok {
		*validation = e.validation()
	}
	return ok
}

func (e *usedError) validation() *ValidationError {
	var p problems
	p.add(idempotencyKeyField, CodeCustom, "Idempotency-Key was used for a request whose token was used or replaced since")
	return &ValidationError{Fields: p}
}

// once runs do, unless a request with this key has had its answer already: then
// it returns that. do must store the Replay that key makes in the same step as
// what it does.
func (m *Manager) once(ctx context.Context, key *replayKey, do func(*replayKey) (Result, error)) (Result, error) {
	if key == nil {
		return do(nil)
	}
	if err := m.wipeNowAndThen(ctx); err != nil {
		return Result{}, err
	}
	for {
		if result, found, err := m.replay(ctx, key); found || err != nil {
			return result, err
		}
		result, err := do(key)
		if err == nil {
			return result, nil
		}
		// It may be that a request with the same key ran beside this one and
		// was faster, whatever it looks like from here.
		if result, found, err := m.replay(ctx, key); found || err != nil {
			return result, err
		}
		conflict := new(store.ConflictError)
		if !errors.As(err, &conflict) || conflict.Field != "idempotency_key" {
			return Result{}, err
		}
		// That one is gone again, or its time has just ended.
		if _, err := m.WipeReplays(ctx); err != nil {
			return Result{}, err
		}
	}
}

// replay returns the answer that is kept for the key.
func (m *Manager) replay(ctx context.Context, key *replayKey) (result Result, found bool, err error) {
	rec, err := m.store.GetByReplay(ctx, key.id)
	switch now := m.now(); {
	case errors.Is(err, store.ErrNotFound):
		return Result{}, false, nil
	case err != nil:
		return Result{}, false, fmt.Errorf("authz: replay: %w", err)
	case !now.Before(rec.Replay.ExpiresAt): // or the next step would take it for the answer of a request beside it
		_, err := m.WipeReplays(ctx)
		return Result{}, false, err
	case rec.Expired(now): // counts as absent, and must not stay in the way of the key
		if err := m.store.Delete(ctx, rec.Owner, rec.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return Result{}, false, fmt.Errorf("authz: replay: %w", err)
		}
		return Result{}, false, nil
	}
	result, err = key.open(rec)
	return result, true, err
}

// wipeInterval is how long a sealed answer outlives its window at most, while
// requests with Idempotency-Keys come in.
const wipeInterval = time.Minute

// wipeNowAndThen calls WipeReplays at most once in a wipeInterval.
func (m *Manager) wipeNowAndThen(ctx context.Context) error {
	last, now := m.wiped.Load(), m.now().UnixMicro()
	if since := now - last; since >= 0 && since < wipeInterval.Microseconds() || !m.wiped.CompareAndSwap(last, now) {
		return nil
	}
	_, err := m.WipeReplays(ctx)
	if err != nil {
		m.wiped.Store(last)
	}
	return err
}

// WipeReplays wipes the sealed answers whose [ReplayWindow] has ended, and
// returns how many. Requests with an Idempotency-Key do it once in a minute; call
// it now and then where such requests are rare. Errors are the store's.
func (m *Manager) WipeReplays(ctx context.Context) (int64, error) {
	n, err := m.store.WipeReplays(ctx, m.now())
	if err != nil {
		return 0, fmt.Errorf("authz: wipe replays: %w", err)
	}
	return n, nil
}

// sealPatience is how long the use of a token waits for its seal to be wiped.
const sealPatience = 250 * time.Millisecond

// wipeSeal wipes the answer that is kept with rec, whose token is in use: whoever
// has it needs no replay of the answer that held it.
func (m *Manager) wipeSeal(ctx context.Context, rec Authorization) Authorization {
	// To verify is to read, and goes on where nothing can be written.
	ctx, cancel := context.WithTimeout(ctx, sealPatience)
	defer cancel()
	wiped := rec
	wiped.Replay.Seal = spent(rec.Replay.Seal)
	if wiped, err := m.store.Replace(ctx, wiped); err == nil {
		return wiped
	}
	return rec // the next use of the token does it, or the end of the window
}
