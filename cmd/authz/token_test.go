package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-926035fd/authz"
)

type wireToken struct {
	ID             int64    `json:"id"`
	Token          string   `json:"token"`
	TokenLastEight string   `json:"token_last_eight"`
	ClientID       string   `json:"client_id"`
	Scopes         []string `json:"scopes"`
	Note           string   `json:"note"`
	Fingerprint    string   `json:"fingerprint"`
	ExpiresAt      *string  `json:"expires_at"`
}

type wireCount struct {
	Login          string `json:"login"`
	ClientID       string `json:"client_id"`
	Authorizations *int64 `json:"authorizations"`
	Revoked        *int64 `json:"revoked"`
	DryRun         bool   `json:"dry_run"`
}

// TestTokens does with the command what users and apps do over HTTP, beside a
// server on the same store.
func TestTokens(t *testing.T) {
	s := newSite(t)
	t.Setenv(storeEnv, s.store)
	list := func(args ...string) []wireToken {
		t.Helper()
		return decode[[]wireToken](t, must(t, "", append([]string{"token", "list", "--user", "mona", "--json"}, args...)...))
	}
	if got := must(t, "", "token", "list", "--user", "MONA", "--json"); got != "[]\n" {
		t.Errorf("an empty list: %s", got)
	}
	alive := func(token string, want int) {
		t.Helper()
		soon(t, s.base, token, want)
	}

	made := decode[wireToken](t, must(t, "", "token", "create", "--user", "mona", "--note", "nightly backup", "--scopes", "repo,user", "--lifetime", "720h", "--json"))
	if made.Token == "" || made.ClientID != authz.PersonalClientID || made.Note != "nightly backup" || strings.Join(made.Scopes, " ") != "repo user" || made.ExpiresAt == nil {
		t.Errorf("create: %+v", made)
	}
	alive(made.Token, 200) // GET /user takes personal tokens
	o := call(t, "", "token", "create", "--user", "mona", "--note", "nightly backup")
	sentenceWanted(t, o, exitFailed, `mona has a personal token with the note "nightly backup": take another note`)
	if text := must(t, "", "token", "create", "--user", "mona", "--note", "other"); !strings.Contains(text, "token    azt_") || !strings.Contains(text, "expires  never") {
		t.Errorf("create: %s", text)
	}

	// A token that nobody has seen does not stay.
	if full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0); err == nil { // Linux has it
		cmd := command(t, "token", "create", "--user", "mona", "--note", "unseen")
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = full, &stderr
		if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), "so it was revoked") {
			t.Errorf("create with a full stdout: %v, %s", err, stderr.String())
		}
		_ = full.Close()
		if text := must(t, "", "token", "list", "--user", "mona"); strings.Contains(text, "unseen") {
			t.Errorf("the token that nobody has seen is there:\n%s", text)
		}
	}

	var tokens []string
	for _, fingerprint := range []string{"", "/laptop", "/desktop"} {
		r := do(t, "PUT", s.base+"/authorizations/clients/"+s.clientID+fingerprint, s.body(`,"scopes":["repo"],"note":"n"`), "basic", monaBasic).want(t, 201)
		tokens = append(tokens, decode[wireAuthorization](t, r.body).Token)
	}
	if got := list(); len(got) != 5 || got[0].ID != made.ID || got[0].Token != "" || got[3].Fingerprint != "laptop" || got[3].ClientID != s.clientID {
		t.Errorf("list: %+v", got)
	}
	if got := list("--app", s.clientID); len(got) != 3 || got[0].TokenLastEight != tokens[0][len(tokens[0])-8:] {
		t.Errorf("list of the app's: %+v", got)
	}
	for _, app := range []string{"personal", authz.PersonalClientID} {
		if got := list("--app", app); len(got) != 2 {
			t.Errorf("list of the personal ones: %+v", got)
		}
	}
	if text := must(t, "", "token", "list", "--user", "mona"); strings.Count(text, "\n") != 6 || !strings.Contains(text, "personal              repo,user  nightly backup  -") || strings.Contains(text, made.Token) {
		t.Errorf("list:\n%s", text)
	}
	grants := decode[[]map[string]any](t, must(t, "", "token", "grants", "--user", "mona", "--json"))
	if len(grants) != 1 || grants[0]["client_id"] != s.clientID || grants[0]["authorizations"] != 3.0 || grants[0]["name"] != "my app" {
		t.Errorf("grants: %v", grants)
	}
	if text := must(t, "", "token", "grants", "--user", "mona"); !strings.Contains(text, s.clientID+"  my app  repo    3 ") {
		t.Errorf("grants:\n%s", text)
	}

	id := fmt.Sprint(list("--app", s.clientID)[0].ID)
	if text := must(t, "", "token", "revoke", id, "--user", "mona"); text != "revoked the token "+id+" of mona\n" {
		t.Errorf("revoke: %s", text)
	}
	alive(tokens[0], 401)
	o = call(t, "", "token", "revoke", id, "--user", "mona")
	sentenceWanted(t, o, exitFailed, `mona has no token `+id)
	must(t, "", "user", "create", "hubot", "--generate-password")
	o = call(t, "", "token", "revoke", fmt.Sprint(made.ID), "--user", "hubot")
	sentenceWanted(t, o, exitFailed, `hubot has no token`)
	alive(made.Token, 200)

	revokeAll := func(args ...string) string {
		t.Helper()
		return must(t, "", append([]string{"token", "revoke-all"}, args...)...)
	}
	if text := revokeAll("--user", "mona", "--app", s.clientID, "--dry-run"); text != `would revoke 2 tokens of mona for the app "my app" (`+s.clientID+")\n" {
		t.Error(text)
	}
	alive(tokens[1], 200)
	got := decode[wireCount](t, revokeAll("--app", s.clientID, "--dry-run", "--json"))
	if got.Login != "" || got.ClientID != s.clientID || *got.Authorizations != 2 || !got.DryRun {
		t.Errorf("dry run: %+v", got)
	}
	if text := revokeAll("--user", "hubot", "--app", s.clientID, "--yes"); !strings.HasPrefix(text, "revoked 0 tokens of hubot") {
		t.Error(text)
	}
	if text := revokeAll("--app", s.clientID, "--yes"); text != `revoked 2 tokens for the app "my app" (`+s.clientID+")\n" {
		t.Error(text)
	}
	alive(tokens[1], 401)
	alive(made.Token, 200)
	if text := revokeAll("--user", "mona", "--app", "personal", "--dry-run"); text != "would revoke 2 personal tokens of mona\n" {
		t.Error(text)
	}
	if text := revokeAll("--user", "mona", "--yes"); text != "revoked 2 tokens of mona\n" {
		t.Error(text)
	}
	alive(made.Token, 401)
	s.stop()
}

// Disabling a user says what becomes of the tokens.
func TestDisableRevoke(t *testing.T) {
	db := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	t.Setenv(storeEnv, db)
	must(t, "", "user", "create", "mona", "--generate-password")
	if o := call(t, "", "user", "disable", "mona"); o.stdout != "disabled mona\n" || o.stderr != "" {
		t.Errorf("%+v", o)
	}
	must(t, "", "token", "create", "--user", "mona", "--note", "one")
	o := call(t, "", "user", "disable", "mona")
	if o.code != exitOK || o.stdout != "disabled mona\n" || o.stderr != "Suspended until authz user enable mona: 1 token. authz token revoke-all --user mona ends them for good.\n" {
		t.Errorf("%+v", o)
	}
	if got := decode[wireCount](t, must(t, "", "user", "disable", "mona", "--json")); *got.Authorizations != 1 || got.Revoked != nil {
		t.Errorf("%+v", got)
	}
	if got := must(t, "", "user", "disable", "mona", "--revoke"); got != "disabled mona and revoked 1 token\n" {
		t.Error(got)
	}
	if got := decode[wireCount](t, must(t, "", "user", "disable", "mona", "--revoke", "--json")); *got.Revoked != 0 || got.Authorizations != nil {
		t.Errorf("%+v", got)
	}
	if got := must(t, "", "token", "list", "--user", "mona", "--json"); got != "[]\n" {
		t.Error(got)
	}
}
