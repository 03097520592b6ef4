package main

import (
	"bytes"
	"encoding/base32"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestApps(t *testing.T) {
	eachStore(t, func(t *testing.T, store string) {
		t.Setenv(storeEnv, store)
		dir := t.TempDir()
		made := decode[wireApp](t, must(t, "", "app", "create", "--name", "one", "--url", "https://one.example", "--json"))
		if len(made.ClientID) != 20 || len(made.ClientSecret) != 40 || made.Name != "one" || made.URL != "https://one.example" || len(made.Secrets) != 1 {
			t.Errorf("create: %+v", made)
		}
		secret := strings.Repeat("abcd", 10)
		const id = "abcde12345fghij67890"
		// The secret of an app that is known elsewhere, from stdin and from a file.
		text := must(t, secret+"\r\n", "app", "create", "--name", "old", "--client-id", id, "--client-secret-file", "-")
		if !strings.Contains(text, secret) || !strings.Contains(text, id) {
			t.Errorf("create: %s", text)
		}
		write(t, filepath.Join(dir, "secret"), secret+"\n")
		o := call(t, "", "app", "create", "--name", "old", "--client-id", id, "--client-secret-file", filepath.Join(dir, "secret"))
		sentenceWanted(t, o, exitFailed, "client_id "+id+" is in use")

		list := decode[[]wireApp](t, must(t, "", "app", "list", "--json"))
		if len(list) != 2 || list[0].ClientID != made.ClientID || list[1].ClientID != id || list[0].ClientSecret != "" {
			t.Errorf("list: %+v", list)
		}
		if text := must(t, "", "app", "list"); !strings.Contains(text, "one") || !strings.Contains(text, id) || strings.Contains(text, secret) {
			t.Errorf("list: %s", text)
		}
		updated := decode[wireApp](t, must(t, "", "app", "update", id, "--name", "new", "--url", "http://new.example", "--json"))
		if updated.Name != "new" || updated.URL != "http://new.example" {
			t.Errorf("update: %+v", updated)
		}
		if got := decode[wireApp](t, must(t, "", "app", "update", id, "--url", "", "--json")); got.Name != "new" || got.URL != "" {
			t.Errorf("update: %+v", got)
		}
		rotated := decode[wireApp](t, must(t, "", "app", "rotate-secret", id, "--json"))
		if len(rotated.Secrets) != 2 || rotated.Secrets[0]["expires_at"] == nil || rotated.Secrets[1]["expires_at"] != nil || len(rotated.ClientSecret) != 40 {
			t.Errorf("rotate-secret: %+v", rotated)
		}
		if got := decode[wireApp](t, must(t, "", "app", "rotate-secret", id, "--overlap", "0s", "--json")); len(got.Secrets) != 1 {
			t.Errorf("rotate-secret --overlap 0: %+v", got)
		}
		for range 2 {
			o := call(t, "", "app", "suspend", id)
			if o.code != exitOK || o.stdout != "suspended the app \"new\" ("+id+")\n" || o.stderr != "Refused until authz app resume "+id+": its client_secret and its tokens.\n" {
				t.Errorf("suspend: %+v", o)
			}
		}
		suspended := decode[[]map[string]any](t, must(t, "", "app", "list", "--json"))
		if suspended[0]["suspended_at"] != nil || suspended[1]["suspended_at"] == nil {
			t.Errorf("list: %v", suspended)
		}
		if text := must(t, "", "app", "list"); !regexp.MustCompile(`(?m)^CLIENT_ID .* SUSPENDED .*\n.* no  .*\n` + id + ` .* yes  `).MatchString(text) {
			t.Errorf("list:\n%s", text)
		}
		if text := must(t, "", "app", "show", id); !strings.Contains(text, "\nsuspended ") {
			t.Errorf("show: %s", text)
		}
		if got := decode[map[string]any](t, must(t, "", "app", "resume", id, "--json")); got["client_id"] != id || got["suspended_at"] != nil {
			t.Errorf("resume: %v", got)
		}
		if text := must(t, "", "app", "resume", id); text != "resumed the app \"new\" ("+id+")\n" {
			t.Errorf("resume: %s", text)
		}
		if got := decode[map[string]any](t, must(t, "", "app", "delete", id, "--yes", "--json")); got["client_id"] != id || got["authorizations"] != 0.0 {
			t.Errorf("delete: %v", got)
		}
		if o := call(t, "", "app", "show", id, "--json"); o.code != exitFailed || decode[map[string]string](t, o.stderr)["error"] == "" {
			t.Errorf("show: %+v", o)
		}
		if got := decode[wireApp](t, must(t, "", "app", "show", made.ClientID, "--json")); got.Name != "one" || got.ClientSecret != "" {
			t.Errorf("show: %+v", got)
		}
	})
}

func TestUsers(t *testing.T) {
	type user struct {
		ID       int64  `json:"id"`
		Login    string `json:"login"`
		Password string `json:"password"`
		OTP      bool   `json:"otp"`
		Disabled bool   `json:"disabled"`
	}
	eachStore(t, func(t *testing.T, store string) {
		file := filepath.Join(t.TempDir(), "store")
		write(t, file, store+"\n")
		from := []string{"--store-file", file}
		args := func(args ...string) []string { return append(args, append(from, "--json")...) }

		made := decode[user](t, must(t, "", args("user", "create", "Mona", "--generate-password")...))
		if made.ID != 1 || made.Login != "Mona" || len(made.Password) < 20 {
			t.Errorf("create: %+v", made)
		}
		must(t, "a password from stdin\n", args("user", "create", "hubot", "--password-file", "-")...)
		o := call(t, "short\n", append([]string{"user", "create", "x", "--password-file", "-"}, from...)...)
		sentenceWanted(t, o, exitUsage, "password must have at least 8")
		if text := must(t, "", append([]string{"user", "list"}, from...)...); !strings.Contains(text, "Mona") || !strings.Contains(text, "hubot") {
			t.Errorf("list: %s", text)
		}
		if got := decode[user](t, must(t, "", args("user", "disable", "MONA")...)); !got.Disabled {
			t.Errorf("disable: %+v", got)
		}
		suspended := func(want bool) {
			t.Helper()
			withStore(t, store, func(s *stores) {
				if at, err := s.Suspended(t.Context(), "1"); err != nil || at.IsZero() == want {
					t.Errorf("the tokens are suspended since %v, %v, want %t", at, err, want)
				}
			})
		}
		suspended(true)
		if got := decode[user](t, must(t, "", args("user", "enable", "mona")...)); got.Disabled {
			t.Errorf("enable: %+v", got)
		}
		suspended(false)
		if got := decode[user](t, must(t, "", args("user", "disable", "mona", "--revoke")...)); !got.Disabled {
			t.Errorf("disable --revoke: %+v", got)
		}
		suspended(true)
		if text := must(t, "", append([]string{"user", "enable", "MONA"}, from...)...); text != "enabled Mona\n" {
			t.Errorf("enable: %s", text)
		}
		suspended(false)
		if got := decode[user](t, must(t, "another password", args("user", "passwd", "mona", "--password-file", "-")...)); got.Password != "" {
			t.Errorf("passwd: %+v", got)
		}
		must(t, "", args("user", "unlock", "mona")...)

		enrolled := decode[map[string]string](t, must(t, "", args("user", "otp", "enrol", "mona")...))
		if !strings.HasPrefix(enrolled["uri"], "otpauth://totp/") || !strings.Contains(enrolled["uri"], enrolled["secret"]) {
			t.Errorf("otp enrol: %v", enrolled)
		}
		seed, err := base32.StdEncoding.DecodeString(enrolled["secret"])
		if err != nil {
			t.Fatal(err)
		}
		code := totpCode(seed, time.Now())
		wrong := "000000"
		for d := -2; d <= 2; d++ { // whatever the clock says by then
			if totpCode(seed, time.Now().Add(time.Duration(d)*30*time.Second)) == wrong {
				wrong = "000001"
			}
		}
		o = call(t, wrong+"\n", append([]string{"user", "otp", "confirm", "mona"}, from...)...)
		sentenceWanted(t, o, exitFailed, "code is wrong")
		confirmed := decode[struct {
			RecoveryCodes []string `json:"recovery_codes"`
		}](t, must(t, code+"\n", args("user", "otp", "confirm", "mona")...))
		if len(confirmed.RecoveryCodes) != 10 {
			t.Errorf("otp confirm: %+v", confirmed)
		}
		o = call(t, code+"\n", append([]string{"user", "otp", "confirm", "mona"}, from...)...)
		sentenceWanted(t, o, exitFailed, "authz user otp enrol")
		if got := decode[[]user](t, must(t, "", args("user", "list")...)); len(got) != 2 || !got[0].OTP || got[1].OTP || got[0].Password != "" {
			t.Errorf("list: %+v", got)
		}

		// Without its key file a server must not make another one.
		o = call(t, "", append([]string{"serve", "--addr", "127.0.0.1:0", "--key-file", filepath.Join(t.TempDir(), "other.key")}, from...)...)
		sentenceWanted(t, o, exitRefused, "other.key that seals them does not exist")

		if got := decode[user](t, must(t, "", args("user", "otp", "remove", "mona")...)); got.OTP {
			t.Errorf("otp remove: %+v", got)
		}
	})
}

func TestMigrateAndVersion(t *testing.T) {
	eachStore(t, func(t *testing.T, store string) {
		for range 2 {
			if got := decode[map[string]string](t, must(t, "", "migrate", "--store", store, "--json")); got["status"] != "up to date" || strings.Contains(got["store"], "search_path") {
				t.Errorf("%v", got)
			}
		}
		if text := must(t, "", "migrate", "--store", store); !strings.HasSuffix(text, " is up to date\n") {
			t.Error(text)
		}
	})
	if got := decode[map[string]any](t, must(t, "", "version", "--json")); got["go"] != runtime.Version() {
		t.Errorf("%v", got)
	}
	if text := must(t, "", "version"); !strings.Contains(text, runtime.Version()) {
		t.Error(text)
	}
	if text := must(t, "", "--version"); !strings.HasPrefix(text, "authz version ") {
		t.Error(text)
	}
}

func TestStoreName(t *testing.T) {
	p := &program{stdin: strings.NewReader("postgres://u:sekrit@h:1/d?password=sekrit\n")}
	got, err := p.target(&storeFlags{cmd: &cobra.Command{}, file: "-"})
	if err != nil {
		t.Fatal(err)
	}
	if got.name() != "postgres://h:1/d" {
		t.Error(got.name())
	}
	for spec, path := range map[string]string{"sqlite:a.db": "a.db", "sqlite:/x/a.db": "/x/a.db", "sqlite:///x/a.db": "/x/a.db", "": "authz.db"} {
		if got, err := p.target(&storeFlags{cmd: &cobra.Command{}, spec: spec}); err != nil || got.kind != kindSQLite || got.at != path {
			t.Errorf("%q: %+v, %v", spec, got, err)
		}
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.key")
	var wg sync.WaitGroup
	keys := make([]string, 8)
	var mu sync.Mutex
	winners := 0
	for i := range keys {
		wg.Go(func() {
			made, err := createKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			key, err := readKey(path)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = key.Reveal()
			mu.Lock()
			defer mu.Unlock()
			if made {
				winners++
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		if key != keys[0] || len(key) != keySize {
			t.Error("the keys differ")
		}
	}
	if winners != 1 {
		t.Errorf("%d have made the key", winners)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if openToOthers(path) {
		t.Error("open to others")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && !openToOthers(path) {
		t.Error("not open to others")
	}
}

func TestKeyPath(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	t.Setenv("AppData", "")
	if got := keyPath(target{kind: kindPostgres}, ""); got != "authz.key" {
		t.Errorf("without a home: %s", got)
	}
	for want, got := range map[string]string{
		"":           keyPath(target{kind: kindMemory}, ""),
		"x.db.key":   keyPath(target{kind: kindSQLite, at: "x.db"}, ""),
		"the/one.it": keyPath(target{kind: kindSQLite, at: "x.db"}, "the/one.it"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

var saysSomething = regexp.MustCompile(`^ +(-\w, )?--[\w-]+( \w+)? {2,}\S`)

// TestHelp walks over all commands and flags: each says what it does.
func TestHelp(t *testing.T) {
	p := &program{stdin: strings.NewReader(""), stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is %q", c.CommandPath(), c.Short)
		}
		for line := range strings.Lines(c.Flags().FlagUsages()) {
			if !saysSomething.MatchString(line) {
				t.Errorf("%s: a flag without help: %s", c.CommandPath(), line)
			}
		}
		for _, args := range [][]string{append(path, "--help"), append([]string{"help"}, path...)} {
			if out := must(t, "", args...); !strings.Contains(out, c.Short) && !strings.Contains(out, c.Long) || out == "" {
				t.Errorf("authz %s: %s", strings.Join(args, " "), out)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(p.root())
	for _, text := range []string{"0 ", "1 ", "2 ", "3 "} {
		if out := must(t, "", "help", "exit-codes"); !strings.Contains(out, "\n  "+text) {
			t.Errorf("help exit-codes: %s", out)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := must(t, "", "completion", shell); !strings.Contains(out, "authz") {
			t.Errorf("%s: %s", shell, out)
		}
	}
	for args, want := range map[string]string{
		"__complete ":                   "demo",
		"__complete app ":               "rotate-secret",
		"__complete help ":              "serve",
		"__complete token ":             "revoke-all",
		"__complete token list --app ":  "personal",
		"__complete token list --u":     "--user",
		"__complete serve --log-l":      "--log-level",
		"__complete demo --log-format ": "json",
	} {
		if out := must(t, "", append(strings.Fields(args), lastWord(args)...)...); !strings.Contains(out, want) {
			t.Errorf("%s: %s", args, out)
		}
	}
}

// lastWord is the empty word that is being completed.
func lastWord(args string) []string {
	if strings.HasSuffix(args, " ") {
		return []string{""}
	}
	return nil
}

func TestScopesFlag(t *testing.T) {
	for _, test := range []struct{ values, want []string }{
		{nil, nil}, // the flag is not there
		{[]string{""}, []string{}},
		{[]string{"repo,user"}, []string{"repo", "user"}},
		{[]string{"repo", "", "user,gist"}, []string{"repo", "user", "gist"}},
		{[]string{"", "repo"}, []string{"repo"}},
		{[]string{"repo,"}, []string{"repo", ""}}, // refused, as no scope-token is empty
	} {
		if got := scopes(test.values); !slices.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%q: got %q, want %q", test.values, got, test.want)
		}
	}
}
