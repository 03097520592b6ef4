package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"unicode"
)

// Secrets come from here or from a file: a command line can be read by
// everybody on the machine.
const (
	passwordEnv = "AUTHZ_LOAD_PASSWORD"
	secretEnv   = "AUTHZ_LOAD_CLIENT_SECRET" //nolint:gosec // a name
)

// credentials has the names of what authz demo --json writes.
type credentials struct {
	BaseURL      string `json:"base_url"`
	Login        string `json:"login"`
	Password     string `json:"password"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// complete fills in what no flag has said: from the environment, then from the file.
func (c *credentials) complete(file string, getenv func(string) string) error {
	c.Password, c.ClientSecret = getenv(passwordEnv), getenv(secretEnv)
	if file != "" {
		f, err := os.Open(file) //nolint:gosec // the user's choice
		if err != nil {
			return err
		}
		defer f.Close()
		var kept credentials
		if err := json.NewDecoder(f).Decode(&kept); err != nil {
			return fmt.Errorf("%s does not begin with a JSON object of strings", file) // the cause may quote a secret
		}
		for _, v := range []struct {
			to   *string
			from string
		}{{&c.BaseURL, kept.BaseURL}, {&c.Login, kept.Login}, {&c.Password, kept.Password}, {&c.ClientID, kept.ClientID}, {&c.ClientSecret, kept.ClientSecret}} {
			if *v.to == "" {
				*v.to = v.from
			}
		}
	}
	for _, v := range []struct{ value, where string }{
		{c.BaseURL, "-url"}, {c.Login, "-login"}, {c.Password, "$" + passwordEnv}, {c.ClientID, "-client-id"}, {c.ClientSecret, "$" + secretEnv},
	} {
		if v.value == "" {
			return fmt.Errorf("%s is missing, and so is a -credentials file that has it", v.where)
		}
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return errors.New("-url must be like https://api.example.com/api/v3, without credentials") // not repeated: it may have some
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	return nil
}

// redact takes secrets out of what a server or a library has said, and makes
// it one line that is safe on a terminal.
func redact(text string, secrets ...string) string {
	for _, s := range secrets {
		quoted, _ := json.Marshal(s)
		for _, spelling := range []string{s, strings.Trim(string(quoted), `"`), url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
			if spelling != "" {
				text = strings.ReplaceAll(text, spelling, "[secret]")
			}
		}
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(text); len(r) > maxText {
		text = string(r[:maxText]) + "…"
	}
	return text
}

const maxText = 160
