package authz_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/store/memory"
)

// A whole program: the API for the users of a web app, and a route of the app
// that takes the tokens. A real one listens with an http.Server whose
// ReadHeaderTimeout is set, and keeps its records in store/sqlite or
// store/postgres.
func Example() {
	manager, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	api, err := authz.NewHandler(manager, authz.HandlerConfig{
		Authenticator: authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
			// Your own users stand here.
			if c.Login != "mona" || !c.Password.Equal(authz.NewSecret("octocat")) {
				return authz.User{}, authz.ErrBadCredentials
			}
			return authz.User{ID: "1", Login: "mona"}, nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/authorizations", api)
	mux.Handle("/authorizations/", api)
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		authorization, err := manager.Verify(r.Context(), token)
		switch {
		case errors.Is(err, authz.ErrInvalidToken):
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case err != nil:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, "user %s, scopes %v", authorization.Owner, authorization.Scopes)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	app, secret, err := manager.RegisterApp(context.Background(), authz.NewApp{Name: "my app", URL: "https://example.com"})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		body := strings.NewReader(`{"client_secret":"` + secret.Reveal() + `","scopes":["repo"]}`)
		req, err := http.NewRequest(http.MethodPut, server.URL+"/authorizations/clients/"+app.ClientID, body)
		if err != nil {
			log.Fatal(err)
		}
		req.SetBasicAuth("mona", "octocat")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status, strings.TrimPrefix(resp.Header.Get("Location"), server.URL))
	}
	// Output:
	// 201 Created /authorizations/1
	// 200 OK /authorizations/1
}

// exampleManager is a Manager with one registered app.
func exampleManager() (*authz.Manager, authz.App, authz.Secret) {
	m, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	app, secret, err := m.RegisterApp(context.Background(), authz.NewApp{Name: "my app"})
	if err != nil {
		log.Fatal(err)
	}
	return m, app, secret
}

func ExampleManager_GetOrCreate() {
	m, app, secret := exampleManager()
	req := authz.Request{
		Owner:        "user-1", // from your own login, never from the client
		ClientID:     app.ClientID,
		ClientSecret: secret,
		Fingerprint:  "laptop",
		Scopes:       []string{"repo"},
	}
	first, err := m.GetOrCreate(context.Background(), req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Created, first.Authorization.ID, len(first.Token.Reveal()))

	req.Scopes = []string{"repo", "user"} // an existing authorization stays as it is
	second, err := m.GetOrCreate(context.Background(), req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(second.Created, second.Authorization.ID, second.Token.IsZero(), second.NotApplied)

	req.OnExisting = authz.OnExistingRotate // the token is lost: have a new one
	third, err := m.GetOrCreate(context.Background(), req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(third.Created, third.Authorization.ID, third.Token.IsZero())
	// Output:
	// true 1 40
	// false 1 true [scopes]
	// false 1 false
}

func ExampleManager_Verify() {
	m, app, secret := exampleManager()
	result, err := m.GetOrCreate(context.Background(), authz.Request{Owner: "user-1", ClientID: app.ClientID, ClientSecret: secret})
	if err != nil {
		log.Fatal(err)
	}
	for _, token := range []string{result.Token.Reveal(), "nonsense"} {
		authorization, err := m.Verify(context.Background(), token)
		switch {
		case errors.Is(err, authz.ErrInvalidToken):
			fmt.Println("401")
		case err != nil:
			fmt.Println("503") // the store says nothing about the token
		default:
			fmt.Println("this is", authorization.Owner)
		}
	}
	// Output:
	// this is user-1
	// 401
}

func ExampleManager_RegisterApp() {
	m, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	app, secret, err := m.RegisterApp(context.Background(), authz.NewApp{Name: "my app", URL: "https://example.com"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(app.Name, len(app.ClientID), len(secret.Reveal()))

	_, _, err = m.RegisterApp(context.Background(), authz.NewApp{Name: "", URL: "example.com"})
	fmt.Println(err)
	// Output:
	// my app 20 40
	// authz: validation failed: name missing_field; url invalid (url must be an absolute http or https URL)
}

func ExampleManager_RotateSecret() {
	m, app, old := exampleManager()
	_, secret, err := m.RotateSecret(context.Background(), app.ClientID, 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range []authz.Secret{old, secret} { // both are live for a day
		_, err := m.AuthenticateApp(context.Background(), app.ClientID, s)
		fmt.Println(err)
	}
	_, _, err = m.RotateSecret(context.Background(), app.ClientID, 0) // leaked: end it now
	if err != nil {
		log.Fatal(err)
	}
	_, err = m.AuthenticateApp(context.Background(), app.ClientID, secret)
	fmt.Println(err)
	// Output:
	// <nil>
	// <nil>
	// authz: invalid client_id or client_secret
}

// An Authenticator of your own can look at anything in a request.
type sessions struct{}

func (sessions) Authenticate(r *http.Request) (authz.User, error) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return authz.User{}, authz.ErrNoCredentials
	}
	if cookie.Value != "let-me-in" {
		return authz.User{}, authz.ErrBadCredentials
	}
	return authz.User{ID: "1", Login: "mona"}, nil
}

func ExampleNewHandler() {
	m, app, secret := exampleManager()
	api, err := authz.NewHandler(m, authz.HandlerConfig{
		Authenticator: sessions{},
		Prefix:        "/api/v3", // on a router that keeps the whole path
		BaseURL:       "https://api.example.com",
	})
	if err != nil {
		log.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPut, "/api/v3/authorizations/clients/"+app.ClientID+"/my%2Flaptop",
		strings.NewReader(`{"client_secret":"`+secret.Reveal()+`"}`))
	req.AddCookie(&http.Cookie{Name: "session", Value: "let-me-in"})
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, req)
	fmt.Println(rec.Code, rec.Header().Get("Location"))
	// Output:
	// 201 https://api.example.com/api/v3/authorizations/1
}

func ExampleBasicAuth() {
	auth := authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
		if c.Login != "hubot" || !c.Password.Equal(authz.NewSecret("beep")) {
			return authz.User{}, authz.ErrBadCredentials
		}
		if !c.OTP.Equal(authz.NewSecret("123456")) { // yours is computed, and taken once
			return authz.User{}, &authz.OTPRequiredError{Delivery: authz.OTPApp}
		}
		return authz.User{ID: "2", Login: "hubot"}, nil
	})
	r := httptest.NewRequest(http.MethodPut, "/", nil)
	_, err := auth.Authenticate(r)
	fmt.Println(err)
	r.SetBasicAuth("hubot", "beep")
	_, err = auth.Authenticate(r)
	fmt.Println(err)
	r.Header.Set("X-GitHub-OTP", "123456")
	user, err := auth.Authenticate(r)
	fmt.Println(user.Login, err)
	// Output:
	// authz: no credentials
	// authz: one-time password required
	// hubot <nil>
}

func ExampleSecret() {
	secret := authz.NewSecret("hunter2")
	fmt.Printf("%v %+v %s\n", secret, struct{ Password authz.Secret }{secret}, secret)
	fmt.Println(secret.Reveal())
	// Output:
	// [redacted] {Password:[redacted]} [redacted]
	// hunter2
}
