package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/seed-926035fd/authz/client"
)

func TestToken(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		c := w.client()
		k := client.File(filepath.Join(t.TempDir(), "acme", "token"))
		logins := 0
		login := func(context.Context) (client.Credentials, error) { logins++; return mona, nil }
		req := client.Request{Fingerprint: "laptop", OnExisting: client.OnExistingRotate}

		first, err := c.Token(t.Context(), k, login, req)
		check(t, err)
		w.fault(nil)
		second, err := c.Token(t.Context(), k, login, req)
		check(t, err)
		if first != second || !w.lives(first) || logins != 1 || len(w.seen()) != 0 {
			t.Errorf("the same token: %v, live: %v, logins: %d, requests for a kept one: %d", first == second, w.lives(first), logins, len(w.seen()))
		}
		check(t, k.Save(t.Context(), ""))
		third, err := c.Token(t.Context(), k, login, req)
		check(t, err)
		if third == first || !w.lives(third) || w.lives(first) {
			t.Error("a forgotten token was not rotated")
		}
	})
}

type badKeeper struct{ load, save error }

func (k badKeeper) Load(context.Context) (string, error)       { return "", k.load }
func (k badKeeper) Save(_ context.Context, token string) error { return k.save }

func TestTokenErrors(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	broken := errors.New("broken")
	login := func(context.Context) (client.Credentials, error) { return mona, nil }

	if _, err := c.Token(t.Context(), badKeeper{load: broken}, login, client.Request{}); !errors.Is(err, broken) {
		t.Errorf("Load: got %v", err)
	}
	if _, err := c.Token(t.Context(), badKeeper{}, func(context.Context) (client.Credentials, error) { return client.Credentials{}, broken }, client.Request{}); !errors.Is(err, broken) {
		t.Errorf("login: got %v", err)
	}
	if n := len(w.seen()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
	token, err := c.Token(t.Context(), badKeeper{save: broken}, login, client.Request{})
	if !errors.Is(err, broken) || !w.lives(token) || strings.Contains(err.Error(), token) {
		t.Errorf("Save: got %v, a live token: %v", err, w.lives(token))
	}
	token, err = c.Token(t.Context(), badKeeper{}, login, client.Request{})
	var none *client.NoTokenError
	if !errors.As(err, &none) || token != "" {
		t.Errorf("got %v, want *NoTokenError", err)
	}
}

func TestFile(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "acme", "token")
	k := client.File(path)
	load := func(want string) {
		t.Helper()
		if got, err := k.Load(ctx); got != want || err != nil {
			t.Errorf("Load: got %q, %v, want %q", got, err, want)
		}
	}
	load("")
	check(t, k.Save(ctx, "")) // nothing to forget
	check(t, k.Save(ctx, "one"))
	load("one")
	check(t, k.Save(ctx, "two"))
	load("two")
	if left := must(os.ReadDir(filepath.Dir(path))); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
	if runtime.GOOS != "windows" {
		if mode := must(os.Stat(path)).Mode(); mode != 0o600 {
			t.Errorf("the file's mode: got %v", mode)
		}
		if mode := must(os.Stat(filepath.Dir(path))).Mode().Perm(); mode != 0o700 {
			t.Errorf("the folder's mode: got %v", mode)
		}
		check(t, os.Chmod(path, 0o640))
		if got, err := k.Load(ctx); got != "" || err == nil || strings.Contains(err.Error(), "two") {
			t.Errorf("Load of a file that others may read: got %q, %v", got, err)
		}
		check(t, k.Save(ctx, "three")) // safe again
		load("three")

		link := filepath.Join(dir, "link")
		check(t, os.Symlink(path, link))
		check(t, client.File(link).Save(ctx, "four"))
		load("four")
		if must(os.Lstat(link)).Mode()&os.ModeSymlink == 0 {
			t.Error("the link is gone")
		}
		// Where it leads, a token may have to be made first.
		relative := filepath.Join(dir, "relative")
		check(t, os.Symlink(filepath.Base(link), relative))
		check(t, client.File(relative).Save(ctx, ""))
		load("")
		check(t, client.File(relative).Save(ctx, "made"))
		load("made")
		if must(os.Lstat(relative)).Mode()&os.ModeSymlink == 0 || must(os.Lstat(link)).Mode()&os.ModeSymlink == 0 {
			t.Error("a link that led nowhere is gone")
		}
		check(t, os.Remove(relative))
	}
	check(t, os.WriteFile(path, []byte("\n  five \r\n\n"), 0o600)) // by hand
	load("five")
	check(t, k.Save(ctx, ""))
	load("")

	if _, err := client.File(dir).Load(ctx); err == nil {
		t.Error("Load of a folder: no error")
	}
	if err := client.File(dir).Save(ctx, "x"); err == nil {
		t.Error("Save over a folder: no error")
	}
	check(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	if _, err := k.Load(ctx); err == nil {
		t.Error("Load of a huge file: no error")
	}
	if left := must(os.ReadDir(filepath.Dir(dir))); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
}

// Whoever reads meanwhile sees one token or another, whole.
func TestFileAtOnce(t *testing.T) {
	k := client.File(filepath.Join(t.TempDir(), "token"))
	tokens := []string{strings.Repeat("a", 40), strings.Repeat("b", 40)}
	check(t, k.Save(t.Context(), tokens[0]))
	var wg sync.WaitGroup
	for _, token := range tokens {
		wg.Go(func() {
			for range 30 {
				if err := k.Save(t.Context(), token); err != nil && runtime.GOOS != "windows" { // which refuses while others read
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 300 {
			if got, err := k.Load(t.Context()); err == nil && got != tokens[0] && got != tokens[1] {
				t.Errorf("got %q", got)
			}
		}
	})
	wg.Wait()
}
