package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
)

// The names of the figures that targets are about.
const (
	stormCall = "p99 of the call, storm ÷ calm"
	stormDue  = "p99 from when it was due, storm ÷ calm"
	stormHeap = "heap, peak of the storm over before"
)

const (
	stormCallers = 64
	stormUsers   = 4
	verifyEvery  = time.Millisecond // each of as many callers as there are processors
)

// openStorm measures Verify beside callers who log in with a password, each
// with one PUT over HTTP after another.
func openStorm(d *data, _ options) (b *backend, err error) {
	var site site
	defer func() {
		if err != nil {
			site.close()
		}
	}()
	ctx := context.Background()
	m, closeManager, err := cachedManager(d)
	if err != nil {
		return nil, err
	}
	site.closers = append(site.closers, closeManager)
	cases := []*benchCase{{name: "logins", callers: stormCallers}, {name: "logins-spared", callers: stormCallers}}
	for i, cfg := range []account.Config{{}, {MaxHashes: max(1, runtime.GOMAXPROCS(0)-1)}} {
		login, err := logins(ctx, &site, d, m, cfg)
		if err != nil {
			return nil, err
		}
		cases[i].gauge = (&storm{m: m, tokens: d.tokens, login: login}).measure
	}
	return &backend{
		about: fmt.Sprintf("%d callers PUT over HTTP with the passwords of package account (argon2id at its default cost), while %d callers verify a cached token every %s each. "+
			"First with as many hashes at once as is the default, then with one less than there are processors, at least one. "+
			"A call is timed from its beginning, and from when it was due: the wait for a processor is in that.",
			stormCallers, runtime.GOMAXPROCS(0), verifyEvery),
		cases: cases,
		close: site.close,
	}, nil
}

// logins starts a server whose users have passwords, and returns how a caller
// sends one PUT.
func logins(ctx context.Context, s *site, d *data, m *authz.Manager, cfg account.Config) (func(caller int) error, error) {
	users, err := account.New(account.Memory(), cfg)
	if err != nil {
		return nil, err
	}
	handler, err := authz.NewHandler(m, authz.HandlerConfig{Authenticator: users.Authenticator(), Timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	addr, err := s.serve(handler)
	if err != nil {
		return nil, err
	}
	conns, err := s.dial(addr, stormCallers)
	if err != nil {
		return nil, err
	}
	var requests [][]byte
	for i := range stormUsers {
		login := fmt.Sprintf("storm-%d", i)
		if _, err := users.Create(ctx, account.NewUser{Login: login, Password: authz.NewSecret(hostPassword)}); err != nil {
			return nil, err
		}
		request := putRequest(d, addr, login, hostPassword)
		if _, err := conns[i].ask(request); err != nil { // the authorization is created here
			return nil, err
		}
		requests = append(requests, request)
	}
	return func(caller int) error {
		_, err := conns[caller].ask(requests[caller%len(requests)])
		return err
	}, nil
}

type storm struct {
	m      *authz.Manager
	tokens []string
	login  func(caller int) error
}

// measure has Verify's percentiles without the storm and in it.
func (s *storm) measure(ctx context.Context, p plan) ([]figure, error) {
	length := 5 * p.pass
	runtime.GC()
	before := heapNow()
	calm, err := s.verify(ctx, length)
	if err != nil {
		return nil, err
	}

	var (
		stop   atomic.Bool
		logins atomic.Int64
		failed atomic.Pointer[error]
		peak   uint64
		wg     sync.WaitGroup
	)
	began := time.Now()
	for caller := range stormCallers {
		wg.Go(func() {
			for !stop.Load() {
				if err := s.login(caller); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				logins.Add(1)
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			peak = max(peak, heapNow())
			time.Sleep(5 * time.Millisecond)
		}
	})
	stormy, err := s.verify(ctx, 2*length)
	stop.Store(true)
	wg.Wait()
	took := time.Since(began)
	if first := failed.Load(); err == nil && first != nil {
		err = *first
	}
	if err == nil && logins.Load() == 0 {
		err = errors.New("nobody logged in")
	}
	if err != nil {
		return nil, err
	}
	const mib = 1 << 20
	return []figure{
		{"logins", "per second", float64(logins.Load()) / took.Seconds()},
		{"Verify, p99 of the call, calm", "µs", calm.call},
		{"Verify, p99 of the call, storm", "µs", stormy.call},
		{stormCall, "", stormy.call / calm.call},
		{"Verify, p99 from when it was due, calm", "µs", calm.due},
		{"Verify, p99 from when it was due, storm", "µs", stormy.due},
		{stormDue, "", stormy.due / calm.due},
		{"heap, before", "MiB", float64(before) / mib},
		{"heap, peak of the storm", "MiB", float64(peak) / mib},
		{stormHeap, "MiB", (float64(peak) - float64(before)) / mib},
	}, nil
}

// latencies are 99th percentiles, in microseconds.
type latencies struct{ call, due float64 }

// verify verifies at a fixed rate, whatever the last call took: a caller who
// waits for an answer before asking again would not notice that it was kept.
func (s *storm) verify(ctx context.Context, length time.Duration) (latencies, error) {
	const low, high, digits = 1, int64(time.Minute), 3
	var (
		mu        sync.Mutex
		calls     = hdrhistogram.New(low, high, digits)
		dues      = hdrhistogram.New(low, high, digits)
		failed    error
		wg        sync.WaitGroup
		processor = runtime.GOMAXPROCS(0)
	)
	for caller := range processor {
		wg.Go(func() {
			call, due := hdrhistogram.New(low, high, digits), hdrhistogram.New(low, high, digits)
			var err error
			began := time.Now()
			for i := caller; err == nil && ctx.Err() == nil; i++ {
				at := began.Add(time.Duration(i-caller) * verifyEvery)
				if at.Sub(began) >= length {
					break
				}
				time.Sleep(time.Until(at))
				start := time.Now()
				_, err = s.m.Verify(ctx, s.tokens[i%len(s.tokens)])
				end := time.Now()
				if err == nil {
					err = errors.Join(call.RecordValue(int64(end.Sub(start))), due.RecordValue(int64(end.Sub(at))))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			calls.Merge(call)
			dues.Merge(due)
		})
	}
	wg.Wait()
	const p99 = 99
	return latencies{float64(calls.ValueAtPercentile(p99)) / 1e3, float64(dues.ValueAtPercentile(p99)) / 1e3}, failed
}

// heapNow is what objects take, the dead ones that are not collected yet included.
func heapNow() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
