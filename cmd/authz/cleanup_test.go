package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store"
)

type reported struct {
	wireToken
	Owner      string  `json:"owner"`
	Login      string  `json:"login"`
	LastUsedAt *string `json:"last_used_at"`
}

// withStore opens a store of the command for what no command does.
func withStore(t *testing.T, spec string, do func(s *stores)) {
	t.Helper()
	p := &program{stdin: strings.NewReader(spec)}
	s, err := p.open(t.Context(), &storeFlags{spec: spec}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	do(s)
}

func notes(list []reported) (all []string) {
	for _, a := range list {
		all = append(all, a.Note)
	}
	return all
}

func TestCleanup(t *testing.T) {
	eachStore(t, func(t *testing.T, spec string) {
		t.Setenv(storeEnv, spec)
		must(t, "", "user", "create", "mona", "--generate-password")
		for _, command := range [][]string{{"unused", "--since", "0s"}, {"expiring", "--within", "7d"}} {
			o := call(t, "", append([]string{"token"}, command...)...)
			if o.code != exitOK || o.stdout != "" || o.stderr != "No tokens.\n" {
				t.Errorf("%v of nothing: %+v", command, o)
			}
			if out := must(t, "", append([]string{"token", "--json"}, command...)...); out != "[]\n" {
				t.Errorf("%v of nothing: %s", command, out)
			}
		}
		// Those that are old, those that end, and those of a user whom only a host knows.
		now := time.Now().UTC().Truncate(time.Microsecond)
		withStore(t, spec, func(s *stores) {
			add := func(owner, note string, age, left time.Duration, used ...time.Duration) {
				t.Helper()
				a := store.Authorization{
					Key: store.Key{Owner: owner}, Note: note, TokenHash: store.HashOf(note), TokenLastEight: "12345678",
					IssuedAt: now.Add(-age), CreatedAt: now.Add(-age), UpdatedAt: now.Add(-age),
				}
				if left != 0 {
					a.ExpiresAt = now.Add(left)
				}
				rec, err := s.Create(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				for _, ago := range used {
					if err := s.Touch(t.Context(), []store.Use{{ID: rec.ID, At: now.Add(-ago)}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			const day = 24 * time.Hour
			add("1", "never", 100*day, 0)
			add("1", "long ago", 200*day, 0, 95*day)
			add("1", "used", 200*day, 0, 2*day)
			add("host", "in six days", 100*day, 6*day)
			add("1", "tomorrow", 80*day, day)
			add("1", "in eight days", day, 8*day, time.Hour)
			add("1", "expired", 100*day, -time.Hour)
			add("host", "long expired", 100*day, -10*day)
		})
		list := func(args ...string) []reported {
			t.Helper()
			return decode[[]reported](t, must(t, "", append([]string{"token", "--json"}, args...)...))
		}
		for since, want := range map[string]string{
			"90d": "never, long ago, in six days", "2160h": "never, long ago, in six days", "96d": "never, in six days",
			now.AddDate(0, 0, -90).Format(time.DateOnly): "never, long ago, in six days",
			now.AddDate(0, 0, -1).Format(time.RFC3339):   "never, long ago, used, in six days, tomorrow, in eight days",
		} {
			got := list("unused", "--since", since)
			if strings.HasSuffix(since, "Z") { // its use is younger
				want = strings.TrimSuffix(want, ", in eight days")
			}
			if text := strings.Join(notes(got), ", "); text != want {
				t.Errorf("unused --since %s: %s, want %s", since, text, want)
			}
		}
		got := list("unused", "--since", "90d")
		if got[0].Owner != "1" || got[0].Login != "mona" || got[0].LastUsedAt != nil || got[1].LastUsedAt == nil || got[2].Owner != "host" || got[2].Login != "" {
			t.Errorf("unused: %+v", got)
		}
		text := must(t, "", "token", "unused", "--since", "90d")
		if lines := strings.Split(text, "\n"); len(lines) != 5 || !strings.Contains(lines[0], "LAST USED") ||
			!strings.Contains(lines[1], "mona") || !strings.HasSuffix(lines[1], "  never") || !strings.Contains(lines[3], "host  personal") {
			t.Errorf("unused:\n%s", text)
		}
		if got := notes(list("expiring", "--within", "7d")); strings.Join(got, ", ") != "tomorrow, in six days" {
			t.Errorf("expiring: %q", got)
		}
		if text := must(t, "", "token", "expiring", "--within", "36h"); strings.Count(text, "\n") != 2 || !strings.Contains(text, "EXPIRES") || !strings.Contains(text, now.Add(24*time.Hour).Format(time.RFC3339)) {
			t.Errorf("expiring:\n%s", text)
		}
		if text := must(t, "", "token", "list", "--user", "mona"); !strings.Contains(text, "LAST USED") || !strings.Contains(text, now.Add(-2*24*time.Hour).Format(time.RFC3339)) {
			t.Errorf("list:\n%s", text)
		}

		if out := must(t, "", "token", "purge", "--after", "48h"); out != "removed 1 expired token\n" {
			t.Errorf("purge --after: %s", out)
		}
		if out := must(t, "", "token", "purge", "--json"); out != `{"authorizations":1}`+"\n" {
			t.Errorf("purge: %s", out)
		}
		if out := must(t, "", "token", "purge"); out != "removed 0 expired tokens\n" {
			t.Errorf("purge again: %s", out)
		}
		if got := list("list", "--user", "mona"); len(got) != 5 {
			t.Errorf("left: %q", notes(got))
		}
	})
}

// More tokens than are written at once are one array, and tables with one head.
func TestManyUnused(t *testing.T) {
	var out bytes.Buffer
	p := &program{stdout: &out, json: true}
	write := func(n int) string {
		out.Reset()
		w := &tokenWriter{p: p, column: "LAST USED", when: func(v ownedToken) timestamp { return v.LastUsedAt }}
		for i := range n {
			if err := w.add(ownedToken{Owner: "1", tokenView: viewToken(authz.Authorization{ID: int64(i + 1), Note: "<" + strings.Repeat("x", i%100)}, authz.Secret{})}); err != nil {
				t.Fatal(err)
			}
			if want := (i + 1) / rowsAtOnce * rowsAtOnce; p.json && strings.Count(out.String(), "\n") != want {
				t.Fatalf("%d lines after %d tokens, want %d", strings.Count(out.String(), "\n"), i+1, want)
			}
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, n := range []int{1, rowsAtOnce, 2*rowsAtOnce + 1} {
		if got := decode[[]reported](t, write(n)); len(got) != n || got[n-1].ID != int64(n) {
			t.Errorf("%d tokens: read back %d", n, len(got))
		}
	}
	if out := write(1); strings.Contains(out, `\u003c`) {
		t.Errorf("escaped as for HTML: %s", out)
	}
	p.json = false
	if text := write(2*rowsAtOnce + 1); strings.Count(text, "\n") != 2*rowsAtOnce+2 || strings.Count(text, "USER") != 1 {
		t.Errorf("%d lines, %d heads", strings.Count(text, "\n"), strings.Count(text, "USER"))
	}

	// What breaks off is no whole array.
	out.Reset()
	p.json = true
	w := &tokenWriter{p: p, when: func(v ownedToken) timestamp { return v.LastUsedAt }}
	_ = w.add(ownedToken{})
	if err := w.broken(errors.New("the store is away")); err == nil || !strings.HasPrefix(out.String(), "[{") || strings.Contains(out.String(), "]\n") {
		t.Errorf("%v, %s", err, out.String())
	}
}

// Whoever interrupts a long purge hears how far it came.
func TestInterruptedPurge(t *testing.T) {
	spec := "sqlite:" + t.TempDir() + "/a.db"
	must(t, "", "migrate", "--store", spec)
	now := time.Now().UTC().Truncate(time.Microsecond)
	withStore(t, spec, func(s *stores) {
		for i := range 2500 {
			note := fmt.Sprint(i)
			if _, err := s.Create(t.Context(), store.Authorization{
				Key: store.Key{Owner: "1"}, Note: note, TokenHash: store.HashOf(note), TokenLastEight: "12345678",
				IssuedAt: now, CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(time.Microsecond),
			}); err != nil {
				t.Fatal(err)
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"token", "purge", "--store", spec}, strings.NewReader(""), &stdout, &stderr)
	if code != exitFailed || stdout.String() != "" || !strings.HasPrefix(stderr.String(), "authz: interrupted") {
		t.Errorf("exit code %d, %q, %q", code, stdout.String(), stderr.String())
	}
	withStore(t, spec, func(s *stores) {
		for first := true; ; first = false {
			m, err := authz.New(interrupting{s.Store, s.Store.(store.Housekeeper), first}, authz.Config{PurgeAfter: -1})
			if err != nil {
				t.Fatal(err)
			}
			n, err := purge(t.Context(), &program{}, m)
			if !first {
				if err != nil || n != 1500 {
					t.Errorf("the rest: %d, %v", n, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "interrupted: removed 1000 expired tokens") {
				t.Errorf("%d, %v", n, err)
			}
		}
	})
}

// interrupting is a store where somebody interrupts a purge after its first batch.
type interrupting struct {
	store.Store
	store.Housekeeper
	once bool
}

func (s interrupting) Purge(ctx context.Context, before time.Time, limit int) (int64, error) {
	n, err := s.Housekeeper.Purge(ctx, before, limit)
	if s.once && n == int64(limit) {
		return n, context.Canceled
	}
	return n, err
}

func TestPastTime(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"90d":                       now.AddDate(0, 0, -90),
		"36h":                       now.Add(-36 * time.Hour),
		"0s":                        now,
		"2026-01-31":                time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"2026-01-31T12:00:00+02:00": time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC),
	} {
		if got, err := pastTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "99999999999d", "-3h", "yesterday", "2026-01-32", "2026-05-05", "2027-01-01T00:00:00Z"} {
		if got, err := pastTime(text, now); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

// A long search says now and then that it goes on; with --json nobody reads that.
func TestPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, json := range []bool{false, true} {
			var stderr lockedBuffer
			var found atomic.Int64
			p := &program{stderr: &stderr, json: json}
			stop := p.patiently("still looking", &found)
			time.Sleep(progressAfter - 1)
			found.Store(7)
			time.Sleep(progressAfter)
			stop()
			time.Sleep(time.Hour)
			if got, want := stderr.String(), "… still looking, 7 tokens so far\n"; json && got != "" || !json && got != want {
				t.Errorf("json %t: %q, want %q", json, got, want)
			}
		}
	})
}
