package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"github.com/seed-926035fd/authz/store"
)

var _ store.Watcher = (*Store)(nil)

const (
	// beat is how often a heartbeat goes through the pool and back through the
	// connection that listens.
	beat = 200 * time.Millisecond
	// silence is how long none may come back before everything is set up anew.
	// What its observers make of silence is their business, and comes earlier.
	silence = 2 * time.Second
)

// ListenOn sets the DSN of the connection on which Watch listens. It is for hosts
// whose pool leads through a pooler in transaction mode, where LISTEN hears
// nothing: name the server itself here. Without it a Store of Open listens on
// Open's DSN, and one of New, or with the option [Pooled], cannot listen at all.
// Call it before Watch.
func (s *Store) ListenOn(dsn string) error {
	if _, err := pq.NewConfig(dsn); err != nil { // its text can quote the DSN, and so the password
		return errors.New("store/postgres: listen: the DSN is neither a valid postgres:// URL nor a list of key=value pairs that lib/pq knows")
	}
	s.listen = withoutOurs(dsn)
	return nil
}

// Watch implements [store.Watcher] with LISTEN on a connection of its own, to
// which triggers send the IDs of what changes. A heartbeat goes the whole way
// round five times a second: through the pool, as changes do, and back through
// the connection that listens. lib/pq's Listener is used for one connection only,
// since it can go deaf without a word: whatever happens to it ends Watch.
func (s *Store) Watch(ctx context.Context, o store.Observer) error {
	if s.settings.withoutListen {
		return fmt.Errorf("store/postgres: watch: it is switched off (listen=off, WithoutListen): %w", errors.ErrUnsupported)
	}
	if s.listen == "" {
		return fmt.Errorf("store/postgres: watch: there is no DSN to listen on: call ListenOn: %w", errors.ErrUnsupported)
	}
	changes, err := s.channel(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("store/postgres: watch: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	// The watchdog comes first: it knows what to say.
	conns := &listenDialer{dialer: dialer{patience: 2 * silence, end: new(deadline)}, ctx: ctx}
	lost := make(chan error, 1)
	listener := pq.NewDialListener(conns, s.listen, 50*time.Millisecond, 50*time.Millisecond, func(event pq.ListenerEventType, err error) {
		if event == pq.ListenerEventDisconnected || event == pq.ListenerEventConnectionAttemptFailed {
			select {
			case lost <- err:
			default:
			}
		}
	})
	var workers sync.WaitGroup
	defer func() {
		// In this order nothing blocks: Close waits for a lock that is held while
		// the connection is read from.
		cancel()
		conns.close()
		_ = listener.Close()
		for range listener.Notify { // until the Listener's goroutine has ended
		}
		workers.Wait()
	}()

	// Only to this process, and on the same queue: what was committed before a
	// heartbeat was sent arrives before it.
	beats := "authz_beat." + strings.ToLower(rand.Text())
	ready := make(chan error, 1)
	workers.Go(func() {
		for _, channel := range []string{changes, beats} {
			if err := listener.Listen(channel); err != nil {
				ready <- err
				return
			}
		}
		ready <- nil
	})
	watchdog := time.NewTimer(silence)
	defer watchdog.Stop()
	var began time.Time // zero: does not listen yet
	returned := false   // a heartbeat
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return fmt.Errorf("store/postgres: watch: the connection that listens was lost: %w", withoutDSN(err))
		case <-watchdog.C:
			switch {
			case began.IsZero():
				return errors.New("store/postgres: watch: the server to listen on does not answer")
			case returned:
				return errors.New("store/postgres: watch: heartbeats come back no more: the server, or the way to it, has fallen silent")
			}
			return errors.New("store/postgres: watch: no heartbeat comes back: is there a pooler in transaction mode between (see ListenOn), or another server?")
		case err := <-ready:
			if err != nil {
				return fmt.Errorf("store/postgres: watch: %w", withoutDSN(err))
			}
			o.Changed(store.Change{})
			watchdog.Reset(silence)
			began = time.Now()
			from := began
			workers.Go(func() { s.sendBeats(ctx, beats, from) })
		case n, open := <-listener.Notify:
			switch {
			case !open || n == nil:
				return errors.New("store/postgres: watch: the connection that listens was lost")
			case n.Channel == beats:
				if nanos, err := strconv.ParseInt(n.Extra, 10, 64); err == nil {
					watchdog.Reset(silence)
					returned = true
					o.Current(began.Add(time.Duration(nanos)))
				}
			case !began.IsZero():
				tell(o, n.Extra)
			}
		}
	}
}

// tell reads a payload of the triggers.
func tell(o store.Observer, payload string) {
	if payload == "" {
		o.Changed(store.Change{})
		return
	}
	switch rest := payload[1:]; payload[0] {
	case 'a':
		for text := range strings.SplitSeq(rest, ",") {
			id, _ := strconv.ParseInt(text, 10, 64) // 0 is anything
			o.Changed(store.Change{ID: id})
		}
	case 'o':
		o.Changed(store.Change{Owner: &rest})
	case 'c':
		o.Changed(store.Change{ClientID: &rest})
	default: // '*', or of a newer version
		o.Changed(store.Change{})
	}
}

// channel is the one that the triggers of this Store's tables notify.
func (s *Store) channel(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	type result struct {
		name  string
		feeds bool
		err   error
	}
	done := make(chan result, 1)
	leave(ctx, func() {
		var r result
		r.err = s.DB().QueryRowContext(ctx, `SELECT CAST('authz_changes.' || nspname AS name),
	EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = 'authz_authorizations'::regclass AND tgname = 'authz_deleted')
FROM pg_namespace
WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = 'authz_authorizations'::regclass)`).Scan(&r.name, &r.feeds)
		done <- r
	})
	select {
	case r := <-done:
		if r.err == nil && !r.feeds { // it would hear heartbeats, and no change
			r.err = fmt.Errorf("the triggers that tell of changes were left out by a Store with WithoutListen: run Migrate (authz migrate on the command line): %w", store.ErrSchema)
		}
		return r.name, r.err
	default:
		return "", ctx.Err()
	}
}

// leave runs fn, and leaves it behind when ctx ends before it: a driver can block
// past any context when the server hangs.
func leave(ctx context.Context, fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// sendBeats sends the time since began again and again. One at a time: where the
// pool is slow, so are they.
func (s *Store) sendBeats(ctx context.Context, channel string, began time.Time) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		// One round trip, right behind a pooler too. Nothing in it comes from outside.
		text := "SELECT pg_notify('" + channel + "', '" + strconv.FormatInt(int64(time.Since(began)), 10) + "')"
		leave(ctx, func() { _, _ = s.DB().ExecContext(ctx, text) })
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// listenDialer makes the connections of one Watch, and can close them under the
// feet of the driver: its Close and Ping block when the server hangs.
type listenDialer struct {
	dialer
	ctx    context.Context // of the Watch: the driver has none
	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

func (d *listenDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(d.ctx, network, address)
}

func (d *listenDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d *listenDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	conn, err := d.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	d.conns = append(d.conns, conn)
	return conn, nil
}

func (d *listenDialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, conn := range d.conns {
		_ = conn.Close()
	}
}

// withoutDSN is an error of the driver, which can quote a DSN when it cannot parse it.
func withoutDSN(err error) error {
	if err == nil || errors.Is(err, sql.ErrConnDone) {
		return errors.New("the connection ended")
	}
	return reason(err)
}
