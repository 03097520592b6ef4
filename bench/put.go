package main

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed-926035fd/authz"
)

// byJSON is the handler that only decodes and encodes.
const byJSON = "JSON alone"

// hostPassword is everybody's. The host compares it: no KDF hides what the rest
// costs.
const hostPassword = "correct horse battery staple"

func hostUsers() authz.Authenticator {
	return authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
		if subtle.ConstantTimeCompare([]byte(c.Password.Reveal()), []byte(hostPassword)) != 1 {
			return authz.User{}, authz.ErrBadCredentials
		}
		return authz.User{ID: c.Login, Login: c.Login}, nil
	})
}

// putBody is what a client asks for.
type putBody struct {
	ClientSecret string   `json:"client_secret"`
	Scopes       []string `json:"scopes"`
	Note         string   `json:"note"`
	NoteURL      string   `json:"note_url"`
}

// putRequest is a PUT of one owner's authorization, as it goes over the wire.
func putRequest(d *data, addr, login, password string) []byte {
	body, err := json.Marshal(putBody{d.secret.Reveal(), scopes, note, noteURL})
	if err != nil {
		panic(err) // strings only
	}
	return fmt.Appendf(nil, "PUT /authorizations/clients/%s/%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		d.app.ClientID, fingerprint, addr, base64.StdEncoding.EncodeToString([]byte(login+":"+password)), len(body), body)
}

// putAnswer is what the API answers, field by field.
type putAnswer struct {
	ID             int64    `json:"id"`
	URL            string   `json:"url"`
	Scopes         []string `json:"scopes"`
	Token          string   `json:"token"`
	TokenLastEight string   `json:"token_last_eight"`
	HashedToken    string   `json:"hashed_token"`
	App            struct {
		URL      string `json:"url"`
		Name     string `json:"name"`
		ClientID string `json:"client_id"`
	} `json:"app"`
	Note        string `json:"note"`
	NoteURL     string `json:"note_url"`
	UpdatedAt   string `json:"updated_at"`
	CreatedAt   string `json:"created_at"`
	Fingerprint string `json:"fingerprint"`
}

// putSubjects are the API and the floor below it.
func putSubjects(s *site, d *data, api http.Handler) ([]subject, error) {
	var subjects []subject
	var answer putAnswer
	for _, name := range []string{byAuthz, byJSON} {
		handler := api
		if name == byJSON {
			handler = jsonAlone(&answer)
		}
		addr, err := s.serve(handler)
		if err != nil {
			return nil, err
		}
		conns, err := s.dial(addr, httpCallers)
		if err != nil {
			return nil, err
		}
		requests := make([][]byte, len(d.recs))
		for i := range d.recs {
			requests[i] = putRequest(d, addr, d.recs[i].Owner, hostPassword)
		}
		body, err := conns[0].ask(requests[0])
		if err != nil {
			return nil, err
		}
		if name == byAuthz {
			// The floor must have the whole answer to write, or it flatters itself.
			decoder := json.NewDecoder(bytes.NewReader(body))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&answer); err != nil {
				return nil, fmt.Errorf("the answer of PUT: %w", err)
			}
		}
		size := len(body)
		if answer.ID == 0 || answer.Note != note {
			return nil, errors.New("PUT is not answered with the authorization")
		}
		subjects = append(subjects, subject{name: name, op: func(_ context.Context, w *worker) error {
			body, err := conns[w.id].ask(requests[w.rng.IntN(len(requests))])
			return check(err, len(body) > size/2, errWrong)
		}})
	}
	return subjects, nil
}

// jsonAlone is the least that answers a PUT.
func jsonAlone(answer *putAnswer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /authorizations/clients/{client_id}/{fingerprint}", func(w http.ResponseWriter, r *http.Request) {
		var body putBody
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Note != note {
			http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json; charset=utf-8"}
		_ = json.NewEncoder(w).Encode(answer)
	})
	return mux
}
