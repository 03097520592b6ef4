//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/cache"
	"github.com/seed-926035fd/authz/store"
	"github.com/seed-926035fd/authz/store/postgres"
	"github.com/seed-926035fd/authz/store/sqlite"
)

// nodeVariable holds the job of a node, as JSON: this program, started again.
const nodeVariable = "AUTHZ_BENCH_REVOCATION_NODE"

// job is what a node is to do.
type job struct {
	Node, Nodes int
	Backend     string
	DSN, Listen string // Listen is "" on SQLite
	TTL         time.Duration
	Deaf        bool // is not expected to hear anything, and so to answer from memory
	Board       string
	Tokens      string // the file with all of them
	Count       int    // of these
	Live        int    // the first so many are not revoked
	Rate        float64
	Verifies    int // a second
	Duration    time.Duration
	Sample      int // the latency of one in so many is measured
	Verbose     bool
}

// token is one that all nodes know.
type token struct {
	Text  string
	ID    int64
	Owner string
}

// revoker is the node that revokes a token.
func (j *job) revoker(token int) int { return (token - j.Live) % j.Nodes }

// sampled reports whether the latency of a token's revocation is measured.
func (j *job) sampled(token int) bool { return (token-j.Live)/j.Nodes%j.Sample == 0 }

type node struct {
	job
	board  *board
	own    nodeBoard
	tokens []token
	m      *authz.Manager
}

// order and reply are what parent and node say to each other, a line each.
type order struct {
	Do   string
	Time int64 // of now
}

type reply struct {
	Error string
}

// countingStore counts the reads of the load.
type countingStore struct {
	store.Store
	store.Housekeeper
	store.Watcher
	reads *atomic.Int64
}

type ofLoad struct{}

func (c countingStore) Lookup(ctx context.Context, hash store.Hash) (store.Authorization, store.Standing, error) {
	if ctx.Value(ofLoad{}) != nil {
		c.reads.Add(1)
	}
	return c.Store.Lookup(ctx, hash)
}

// runNode is a node's life: it ends when its parent closes stdin, or has ended.
func runNode(text string, stdin io.Reader, stdout io.Writer) error {
	n := &node{}
	if err := json.Unmarshal([]byte(text), &n.job); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orders := make(chan order)
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(stdin); lines.Scan(); {
			var o order
			if json.Unmarshal(lines.Bytes(), &o) != nil {
				return
			}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
		}
	}()

	board, err := openBoard(n.Board, n.Nodes, n.Count, false)
	if err != nil {
		return err
	}
	n.board, n.own = board, board.at[n.Node]
	content, err := os.ReadFile(n.Tokens)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &n.tokens); err != nil {
		return err
	}
	s, end, err := n.open(ctx)
	switch {
	case ctx.Err() != nil: // while it opened
		return nil
	case err != nil:
		return err
	}
	defer end()
	cfg := authz.Config{Cache: cache.New(100_000), CacheTTL: n.TTL}
	if n.Verbose {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", n.Node)
	}
	if n.m, err = authz.New(s, cfg); err != nil {
		return err
	}
	if err := n.m.Start(ctx); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = n.m.Close(ctx)
	}()

	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var load sync.WaitGroup
	defer load.Wait()
	answers := json.NewEncoder(stdout)
	for {
		var o order
		select {
		case o = <-orders:
		case <-ctx.Done():
			return nil
		}
		var err error
		switch o.Do {
		case "warm":
			err = n.warm(ctx)
		case "run":
			load.Go(func() { n.load(loadCtx) })
			load.Go(func() { n.look(loadCtx) })
			n.revoke(ctx, o.Time)
		case "settle":
			n.settle(ctx, o.Time)
		case "check":
			stopLoad()
			load.Wait()
			err = n.check(ctx)
		}
		var r reply
		if err != nil {
			r.Error = err.Error()
		}
		if err := answers.Encode(r); err != nil {
			return nil // the parent is gone
		}
	}
}

func (n *node) open(ctx context.Context) (store.Store, func(), error) {
	reads := &n.own.counts[read]
	if n.Backend == "sqlite" {
		s, err := sqlite.Open(ctx, n.DSN)
		if err != nil {
			return nil, nil, err
		}
		return countingStore{s, s, s, reads}, func() { _ = s.Close() }, nil
	}
	s, err := postgres.Open(ctx, n.DSN)
	if err != nil {
		return nil, nil, err
	}
	end := func() { _ = s.Close() }
	if err := s.ListenOn(n.Listen); err != nil {
		end()
		return nil, nil, err
	}
	return countingStore{s, s, s, reads}, end, nil
}

// parallel calls f for 0 to n-1 in a few goroutines.
func parallel(ctx context.Context, n int, f func(i int) error) error {
	var (
		workers sync.WaitGroup
		next    atomic.Int64
		first   atomic.Pointer[error]
	)
	for range 8 {
		workers.Go(func() {
			for ctx.Err() == nil && first.Load() == nil {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	workers.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// warm waits until this node answers from memory, and has it read all tokens.
func (n *node) warm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, ofLoad{}, true), 5*time.Minute)
	defer cancel()
	reads := &n.own.counts[read]
	for end := time.Now().Add(10 * time.Second); !n.Deaf; {
		before := reads.Load()
		for range 2 {
			if _, err := n.m.Verify(ctx, n.tokens[0].Text); err != nil {
				return err
			}
		}
		if reads.Load() == before {
			break
		}
		if time.Now().After(end) {
			return errors.New("it does not begin to answer from memory")
		}
		time.Sleep(20 * time.Millisecond)
	}
	err := parallel(ctx, n.Count, func(i int) error {
		_, err := n.m.Verify(ctx, n.tokens[i].Text)
		return err
	})
	reads.Store(0)
	return err
}

// load verifies all tokens that nobody has begun to revoke, again and again, so that
// the cache keeps them. It does not catch up: where the store is read, it is slower.
func (n *node) load(ctx context.Context) {
	const tick = 2 * time.Millisecond
	ctx = context.WithValue(ctx, ofLoad{}, true)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	each := max(1, int(float64(n.Verifies)*tick.Seconds()))
	next := n.Node * n.Count / n.Nodes // not all nodes the same at once
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for range each {
			i := next % n.Count
			next++
			if n.board.begun[i].Load() != 0 {
				continue
			}
			call, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := n.m.Verify(call, n.tokens[i].Text)
			cancel()
			if ctx.Err() != nil { // the call may have ended by that, without a read
				return
			}
			n.own.counts[verified].Add(1)
			switch {
			case err == nil:
			case !errors.Is(err, authz.ErrInvalidToken):
				n.own.counts[failed].Add(1)
			case n.board.begun[i].Load() == 0:
				n.own.counts[wrong].Add(1)
			}
		}
	}
}

// look reads the log, and hands what others have revoked to goroutines that verify
// it until it is refused.
func (n *node) look(ctx context.Context) {
	const interval = 200 * time.Microsecond
	var pollers sync.WaitGroup
	defer pollers.Wait()
	const count = 6 // a token that is read from the store holds up a sixth of the others
	var queues [count]chan int
	for i := range queues {
		queues[i] = make(chan int, n.Count)
		pollers.Go(func() { n.poll(ctx, queues[i]) })
	}
	last := now()
	for pos := 0; ctx.Err() == nil; time.Sleep(interval) {
		t := now()
		if t-last > n.own.counts[gap].Load() {
			n.own.counts[gap].Store(t - last)
		}
		last = t
		for pos < n.Count {
			line := int(n.board.log[pos].Load())
			if line == 0 {
				break
			}
			if n.revoker(line-1) != n.Node {
				queues[pos%count] <- line - 1
			}
			pos++
		}
	}
}

// poll verifies what comes until it is refused.
func (n *node) poll(ctx context.Context, queue <-chan int) {
	var pending []int
	for {
		if len(pending) == 0 {
			select {
			case i := <-queue:
				pending = append(pending, i)
			case <-ctx.Done():
				return
			}
		}
		for more := true; more; {
			select {
			case i := <-queue:
				pending = append(pending, i)
			default:
				more = false
			}
		}
		left := pending[:0]
		for _, i := range pending {
			began := now()
			call, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, err := n.m.Verify(call, n.tokens[i].Text)
			cancel()
			if errors.Is(err, authz.ErrInvalidToken) {
				n.own.refused[i].Store(now())
				continue
			}
			left = append(left, i)
			if err == nil {
				n.own.accepted[i].Store(began)
			} else if ctx.Err() == nil {
				n.own.counts[failed].Add(1)
			}
		}
		pending = left
		if ctx.Err() != nil {
			return
		}
		if len(pending) > 0 {
			wait := 100 * time.Microsecond
			if now()-n.board.revoked[pending[0]].Load() > int64(20*time.Millisecond) {
				wait = time.Millisecond // 5 % of what is measured, and the machine is not ours alone
			}
			time.Sleep(wait)
		}
	}
}

// revoke revokes this node's share, from start on, at its rate.
func (n *node) revoke(ctx context.Context, start int64) {
	var (
		workers sync.WaitGroup
		next    atomic.Int64
	)
	end := start + int64(n.Duration)
	for range 8 {
		workers.Go(func() {
			for ctx.Err() == nil {
				k := next.Add(1) - 1
				i := n.Live + int(k)*n.Nodes + n.Node
				at := start + int64(float64(k)/n.Rate*1e9)
				if i >= n.Count || at >= end {
					return
				}
				if sleep(ctx, time.Duration(at-now())) != nil || now() >= end {
					return
				}
				n.revokeOne(ctx, i, k)
			}
		})
	}
	workers.Wait()
}

func (n *node) revokeOne(ctx context.Context, i int, k int64) {
	t := n.tokens[i]
	n.board.begun[i].Store(1)
	for {
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		var err error
		if k%10 == 9 { // each token has an owner of its own
			_, err = n.m.RevokeAll(call, authz.Revocation{Owner: t.Owner})
		} else {
			err = n.m.Delete(call, t.Owner, t.ID)
		}
		returned := now()
		cancel()
		if err == nil || errors.Is(err, authz.ErrNotFound) { // a try before can have done it
			n.board.revoked[i].Store(returned)
			break
		}
		if ctx.Err() != nil {
			return
		}
		n.own.counts[unrevoked].Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	if !n.sampled(i) {
		return
	}
	n.board.tell(i)
	if _, err := n.m.Verify(ctx, t.Text); err == nil {
		n.own.counts[ownAccepted].Add(1)
	}
}

// settle waits until all that is measured was refused here, or until a time.
func (n *node) settle(ctx context.Context, until int64) {
	for ctx.Err() == nil && now() < until {
		done := true
		for pos := range min(int(n.board.told.Load()), n.Count) {
			if i := int(n.board.log[pos].Load()) - 1; i >= 0 && n.revoker(i) != n.Node && n.own.refused[i].Load() == 0 {
				done = false
				break
			}
		}
		if done {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// check counts the revoked tokens that are accepted, of all that were revoked.
func (n *node) check(ctx context.Context) error {
	return parallel(ctx, n.Count-n.Live, func(k int) error {
		i := n.Live + k
		if n.board.revoked[i].Load() == 0 {
			return nil
		}
		_, err := n.m.Verify(ctx, n.tokens[i].Text)
		switch {
		case err == nil:
			n.own.counts[alive].Add(1)
		case !errors.Is(err, authz.ErrInvalidToken):
			return fmt.Errorf("token %d: %w", i, err)
		}
		return nil
	})
}
