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
	protect, err := authz.NewMiddleware(manager, authz.MiddlewareConfig{})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("GET /user", protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization, _ := authz.FromContext(r.Context())
		fmt.Fprintf(w, "user %s, scopes %v", authorization.Owner, authorization.Scopes)
	})))
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

// exampleToken gets a token for the app's user-1.
func exampleToken(m *authz.Manager, app authz.App, secret authz.Secret, scopes ...string) authz.Result {
	result, err := m.Create(context.Background(), authz.Request{
		Owner: "user-1", ClientID: app.ClientID, ClientSecret: secret, Scopes: scopes,
	})
	if err != nil {
		log.Fatal(err)
	}
	return result
}

func ExampleManager_Create() {
	m, app, secret := exampleManager()
	ctx := context.Background()
	for range 2 { // for an app, as many as are asked for
		result, err := m.Create(ctx, authz.Request{Owner: "user-1", ClientID: app.ClientID, ClientSecret: secret})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(result.Authorization.ID, result.Created, result.App.Name)
	}
	req := authz.Request{Owner: "user-1", Note: "backup script", Scopes: []string{"repo"}} // personal: for no app
	for range 2 {
		result, err := m.Create(ctx, req)
		invalid := new(authz.ValidationError)
		switch {
		case errors.As(err, &invalid):
			fmt.Println(invalid.Fields[0].Field, invalid.Fields[0].Code, invalid.Fields[0].ExistingID)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(result.Authorization.ID, result.Created, result.App.Name)
		}
	}
	// Output:
	// 1 true my app
	// 2 true my app
	// 3 true backup script
	// note already_exists 3
}

func ExampleManager_AppOf() {
	m, app, secret := exampleManager()
	result := exampleToken(m, app, secret)
	of, err := m.AppOf(context.Background(), result.Authorization)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(of.Name)
	// Output:
	// my app
}

func ExampleManager_Get() {
	m, app, secret := exampleManager()
	result := exampleToken(m, app, secret, "repo")
	for _, owner := range []string{"user-1", "user-2"} {
		authorization, err := m.Get(context.Background(), owner, result.Authorization.ID)
		switch {
		case errors.Is(err, authz.ErrNotFound):
			fmt.Println("404") // or somebody else's
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(authorization.ID, authorization.Scopes)
		}
	}
	// Output:
	// 1 [repo]
	// 404
}

func ExampleManager_List() {
	m, app, secret := exampleManager()
	for _, scope := range []string{"repo", "gist", "user"} {
		exampleToken(m, app, secret, scope)
	}
	page := authz.ListOptions{ClientID: app.ClientID, Limit: 2}
	for {
		authorizations, err := m.List(context.Background(), "user-1", page)
		if err != nil {
			log.Fatal(err)
		}
		for _, a := range authorizations {
			fmt.Println(a.ID, a.Scopes)
			page.After = a.ID
		}
		if len(authorizations) < page.Limit {
			break
		}
	}
	// Output:
	// 1 [repo]
	// 2 [gist]
	// 3 [user]
}

func ExampleManager_Count() {
	m, app, secret := exampleManager()
	exampleToken(m, app, secret)
	ctx := context.Background()
	if _, err := m.Create(ctx, authz.Request{Owner: "user-1", Note: "backup script"}); err != nil {
		log.Fatal(err)
	}
	for _, clientID := range []string{"", app.ClientID, authz.PersonalClientID} {
		n, err := m.Count(ctx, "user-1", clientID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(n)
	}
	// Output:
	// 2
	// 1
	// 1
}

func ExampleManager_Update() {
	m, app, secret := exampleManager()
	result := exampleToken(m, app, secret, "repo", "gist")
	note := "admin script"
	for _, u := range []authz.Update{
		{AddScopes: []string{"user"}, Note: &note},
		{RemoveScopes: []string{"repo"}},
		{Scopes: []string{}}, // none at all; nil would leave them as they are
	} {
		a, err := m.Update(context.Background(), "user-1", result.Authorization.ID, u)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.Note, a.Scopes)
	}
	// Output:
	// admin script [repo gist user]
	// admin script [gist user]
	// admin script []
}

func ExampleManager_Delete() {
	m, app, secret := exampleManager()
	result := exampleToken(m, app, secret)
	for range 2 {
		fmt.Println(errors.Is(m.Delete(context.Background(), "user-1", result.Authorization.ID), authz.ErrNotFound))
	}
	// Output:
	// false
	// true
}

// A user's password was changed, or the account closed.
func ExampleManager_RevokeAll() {
	m, app, secret := exampleManager()
	exampleToken(m, app, secret)
	result := exampleToken(m, app, secret)
	ctx := context.Background()
	for _, dry := range []bool{true, false} {
		n, err := m.RevokeAll(ctx, authz.Revocation{Owner: "user-1", DryRun: dry})
		if err != nil {
			log.Fatal(err)
		}
		_, err = m.Verify(ctx, result.Token.Reveal())
		fmt.Println(n, err)
	}
	// Output:
	// 2 <nil>
	// 2 authz: invalid token
}

func ExampleManager_Grants() {
	m, app, secret := exampleManager()
	exampleToken(m, app, secret, "repo")
	exampleToken(m, app, secret, "gist", "repo")
	ctx := context.Background()
	grants, err := m.Grants(ctx, "user-1")
	if err != nil {
		log.Fatal(err)
	}
	for _, g := range grants {
		fmt.Println(g.App.Name, g.Scopes, g.Authorizations)
		same, err := m.Grant(ctx, "user-1", g.ID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(same.ID == g.ID)
	}
	// Output:
	// my app [repo gist] 2
	// true
}

func ExampleManager_DeleteGrant() {
	m, app, secret := exampleManager()
	exampleToken(m, app, secret)
	exampleToken(m, app, secret)
	ctx := context.Background()
	grants, err := m.Grants(ctx, "user-1")
	if err != nil {
		log.Fatal(err)
	}
	n, err := m.DeleteGrant(ctx, "user-1", grants[0].ID) // the app is shut out
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n)
	_, err = m.Grant(ctx, "user-1", grants[0].ID)
	fmt.Println(errors.Is(err, authz.ErrNotFound))
	// Output:
	// 2
	// true
}

func ExampleManager_Check() {
	m, app, secret := exampleManager()
	result := exampleToken(m, app, secret, "repo")
	ctx := context.Background()
	client, err := m.AuthenticateApp(ctx, app.ClientID, secret) // first of all: who is asking?
	if err != nil {
		log.Fatal(err)
	}
	for _, token := range []string{result.Token.Reveal(), "nonsense"} {
		authorization, err := m.Check(ctx, client.ClientID, token)
		switch {
		case errors.Is(err, authz.ErrNotFound):
			fmt.Println("404") // or another app's
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(authorization.Owner, authorization.Scopes)
		}
	}
	// Output:
	// user-1 [repo]
	// 404
}

func ExampleManager_Reset() {
	m, app, secret := exampleManager()
	first := exampleToken(m, app, secret)
	ctx := context.Background()
	second, err := m.Reset(ctx, authz.ResetRequest{ClientID: app.ClientID, Token: first.Token})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(second.Authorization.ID == first.Authorization.ID, second.Token.Equal(first.Token))
	_, err = m.Verify(ctx, first.Token.Reveal())
	fmt.Println(err)
	// Output:
	// true false
	// authz: invalid token
}

func ExampleManager_Revoke() {
	m, app, secret := exampleManager()
	token := exampleToken(m, app, secret).Token.Reveal()
	for range 2 {
		fmt.Println(errors.Is(m.Revoke(context.Background(), app.ClientID, token), authz.ErrNotFound))
	}
	// Output:
	// false
	// true
}

func ExampleManager_RevokeGrant() {
	m, app, secret := exampleManager()
	exampleToken(m, app, secret)
	token := exampleToken(m, app, secret).Token.Reveal()
	n, err := m.RevokeGrant(context.Background(), app.ClientID, token) // this one and its user's others
	fmt.Println(n, err)
	// Output:
	// 2 <nil>
}

// A token for a part of the app that needs less.
func ExampleManager_Scoped() {
	m, app, secret := exampleManager()
	wide := exampleToken(m, app, secret, "repo", "gist", "user")
	ctx := context.Background()
	for _, scopes := range [][]string{{"gist"}, {"gist", "admin"}} {
		narrow, err := m.Scoped(ctx, authz.ScopedRequest{ClientID: app.ClientID, Token: wide.Token, Scopes: scopes})
		fmt.Println(narrow.Authorization.Scopes, err)
	}
	_, err := m.Verify(ctx, wide.Token.Reveal()) // lives on
	fmt.Println(err)
	// Output:
	// [gist] <nil>
	// [] authz: validation failed: scopes custom (scopes are invalid: admin)
	// <nil>
}

// A request whose answer was lost is sent again, with the same key.
func ExampleManager_Create_idempotencyKey() {
	m, app, secret := exampleManager()
	ctx := context.Background()
	req := authz.Request{
		Owner: "user-1", ClientID: app.ClientID, ClientSecret: secret,
		IdempotencyKey: authz.NewSecret("8e03978e-40d5-43dd-bc93-6894a57f9324"), // a new UUID for each new request
	}
	first, err := m.Create(ctx, req)
	if err != nil {
		log.Fatal(err)
	}
	second, err := m.Create(ctx, req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(second.Replayed, second.Token.Equal(first.Token))

	if _, err := m.Verify(ctx, second.Token.Reveal()); err != nil { // it has arrived
		log.Fatal(err)
	}
	_, err = m.Create(ctx, req)
	fmt.Println(err)
	// Output:
	// true true
	// authz: validation failed: Idempotency-Key custom (Idempotency-Key was used for a request whose token was used or replaced since)
}

func ExampleManager_WipeReplays() {
	now := time.Date(2026, 11, 22, 8, 58, 51, 0, time.UTC)
	m, err := authz.New(memory.New(), authz.Config{Now: func() time.Time { return now }})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = m.Create(ctx, authz.Request{
		Owner: "user-1", Note: "backup script", IdempotencyKey: authz.NewSecret("8e03978e-40d5-43dd-bc93-6894a57f9324"),
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		n, err := m.WipeReplays(ctx)
		fmt.Println(n, err)
		now = now.Add(authz.ReplayWindow)
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
}

// A scope can include others: who has repo needs no repo:status.
func ExampleScope() {
	m, err := authz.New(memory.New(), authz.Config{Scopes: []authz.Scope{
		{Name: "repo", Description: "All of your repositories", Includes: []string{"repo:status"}},
		{Name: "repo:status", Description: "The status of commits"},
		{Name: "user", Description: "Your profile"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	result, err := m.Create(ctx, authz.Request{Owner: "user-1", Note: "CI", Scopes: []string{"repo", "repo:status"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Authorization.Scopes)
	_, err = m.Create(ctx, authz.Request{Owner: "user-1", Note: "deploy", Scopes: []string{"admin"}})
	fmt.Println(err)
	for _, scope := range m.Scopes() {
		fmt.Println(scope.Name, m.Allows(&result.Authorization, scope.Name))
	}
	// Output:
	// [repo]
	// authz: validation failed: scopes custom (scopes are invalid: admin)
	// repo true
	// repo:status true
	// user false
}

// Scopes that have only names.
func ExampleScopeNames() {
	m, err := authz.New(memory.New(), authz.Config{Scopes: authz.ScopeNames("repo", "user")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Scopes()[1].Name)
	// Output:
	// user
}

// A page on which people choose what a token may do.
func ExampleManager_Scopes() {
	m, err := authz.New(memory.New(), authz.Config{Scopes: []authz.Scope{
		{Name: "repo", Description: "All of your repositories", Includes: []string{"repo:status"}},
		{Name: "repo:status", Description: "The status of commits"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	for _, scope := range m.Scopes() {
		fmt.Println(scope.Name, "-", scope.Description, scope.Includes)
	}
	// Output:
	// repo - All of your repositories [repo:status]
	// repo:status - The status of commits []
}

func ExampleManager_Allows() {
	m, app, secret := exampleManager()
	result := exampleToken(m, app, secret, "repo", "gist")
	a, err := m.Verify(context.Background(), result.Token.Reveal())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Allows(a, "gist"), m.Allows(a, "gist", "user"))
	// Output:
	// true false
}

func ExampleConfig_onEvent() {
	m, err := authz.New(memory.New(), authz.Config{
		OnEvent: func(_ context.Context, e authz.Event) { // an audit log, or a message to the user
			fmt.Println(e.Kind, e.Owner, e.ID, e.Count)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, note := range []string{"backup script", "deploy script"} {
		if _, err := m.Create(ctx, authz.Request{Owner: "user-1", Note: note}); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := m.RevokeAll(ctx, authz.Revocation{Owner: "user-1"}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// created user-1 1 1
	// created user-1 2 1
	// revoked user-1 0 2
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

// Two routes of a web app: one for every token, one for tokens with a scope.
func ExampleNewMiddleware() {
	m, app, secret := exampleManager()
	protect, err := authz.NewMiddleware(m, authz.MiddlewareConfig{})
	if err != nil {
		log.Fatal(err)
	}
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, _ := authz.FromContext(r.Context())
		fmt.Fprintf(w, "hello, %s", a.Owner)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /user", protect(show))
	mux.Handle("POST /repos", protect(authz.RequireScopes("repo")(show)))

	token := exampleToken(m, app, secret, "user").Token.Reveal()
	for _, call := range []struct{ method, path, authorization string }{
		{"GET", "/user", "Bearer " + token},
		{"GET", "/user", ""},
		{"GET", "/user", "Bearer nonsense"},
		{"POST", "/repos", "Bearer " + token},
	} {
		req := httptest.NewRequest(call.method, call.path, nil)
		req.Header.Set("Authorization", call.authorization)
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, req)
		if rec.Code == http.StatusOK {
			fmt.Println(rec.Code, rec.Body)
		} else {
			fmt.Println(rec.Code, rec.Header().Get("WWW-Authenticate"))
		}
	}
	// Output:
	// 200 hello, user-1
	// 401 Bearer realm="authz"
	// 401 Bearer realm="authz", error="invalid_token", error_description="The token is malformed, unknown, revoked or expired"
	// 403 Bearer realm="authz", error="insufficient_scope", scope="repo", error_description="The token lacks the scope repo"
}

func ExampleRequireScopes() {
	m, app, secret := exampleManager()
	protect, err := authz.NewMiddleware(m, authz.MiddlewareConfig{})
	if err != nil {
		log.Fatal(err)
	}
	h := protect(authz.RequireScopes("repo", "user")(http.NotFoundHandler()))
	for _, scopes := range [][]string{{"user"}, {"user", "repo"}} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Authorization", "token "+exampleToken(m, app, secret, scopes...).Token.Reveal())
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		fmt.Println(rec.Code, rec.Header().Get("X-OAuth-Scopes"), "of", rec.Header().Get("X-Accepted-OAuth-Scopes"))
	}
	// Output:
	// 403 user of repo, user
	// 404 user, repo of repo, user
}

// A route that does more for those who have a token.
func ExampleFromContext() {
	m, app, secret := exampleManager()
	identify, err := authz.NewMiddleware(m, authz.MiddlewareConfig{Optional: true})
	if err != nil {
		log.Fatal(err)
	}
	h := identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if a, ok := authz.FromContext(r.Context()); ok {
			fmt.Println("hello,", a.Owner)
		} else {
			fmt.Println("hello, whoever you are")
		}
	}))
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	h.ServeHTTP(httptest.NewRecorder(), req)
	req.Header.Set("Authorization", "Bearer "+exampleToken(m, app, secret).Token.Reveal())
	h.ServeHTTP(httptest.NewRecorder(), req)
	// Output:
	// hello, whoever you are
	// hello, user-1
}

// What an interceptor of another transport does with the metadata of a call.
func ExampleBearerToken() {
	m, app, secret := exampleManager()
	token := exampleToken(m, app, secret, "repo").Token.Reveal()
	for _, metadata := range [][]string{{"Bearer " + token}, {"Bearer nonsense"}, {"Bearer"}, nil} {
		token, err := authz.BearerToken(metadata)
		if err != nil {
			fmt.Println(err) // unauthenticated
			continue
		}
		a, err := m.Verify(context.Background(), token)
		switch {
		case errors.Is(err, authz.ErrInvalidToken):
			fmt.Println(err) // unauthenticated
		case err != nil:
			fmt.Println("try again later") // unavailable
		case !m.Allows(a, "repo"):
			fmt.Println("permission denied")
		default:
			ctx := m.NewContext(context.Background(), a)
			who, _ := authz.FromContext(ctx) // in the service
			fmt.Println("hello,", who.Owner)
		}
	}
	// Output:
	// hello, user-1
	// authz: invalid token
	// authz: malformed credentials
	// authz: no credentials
}

func ExampleManager_NewContext() {
	m, _, _ := exampleManager()
	ctx := m.NewContext(context.Background(), &authz.Authorization{Scopes: []string{"repo"}}) // from Verify
	a, ok := authz.FromContext(ctx)
	fmt.Println(a.Scopes, ok)
	// Output:
	// [repo] true
}

func ExampleSecret() {
	secret := authz.NewSecret("hunter2")
	fmt.Printf("%v %+v %s\n", secret, struct{ Password authz.Secret }{secret}, secret)
	fmt.Println(secret.Reveal())
	// Output:
	// [redacted] {Password:[redacted]} [redacted]
	// hunter2
}

func ExampleManager_Start() {
	ctx := context.Background()
	m, err := authz.New(memory.New(), authz.Config{IdleTimeout: 90 * 24 * time.Hour})
	if err != nil {
		panic(err)
	}
	if err := m.Start(ctx); err != nil { // times of use are stored, what has expired is removed
		panic(err)
	}
	made, _ := m.Create(ctx, authz.Request{Owner: "mona", Note: "laptop"})
	_, err = m.Verify(ctx, made.Token.Reveal())
	fmt.Println(err)

	// When the server has answered its last request:
	fmt.Println(m.Close(ctx))
	a, _ := m.Get(ctx, "mona", made.Authorization.ID)
	fmt.Println(a.LastUsedAt.IsZero())
	// Output:
	// <nil>
	// <nil>
	// false
}

func ExampleManager_SuspendUser() {
	ctx := context.Background()
	m, _ := authz.New(memory.New(), authz.Config{})
	made, _ := m.Create(ctx, authz.Request{Owner: "mona", Note: "laptop"})

	_ = m.SuspendUser(ctx, "mona") // the account is disabled
	_, err := m.Verify(ctx, made.Token.Reveal())
	fmt.Println(err)

	_ = m.ResumeUser(ctx, "mona")
	_, err = m.Verify(ctx, made.Token.Reveal())
	fmt.Println(err)
	// Output:
	// authz: invalid token
	// <nil>
}

func ExampleManager_SuspendApp() {
	ctx := context.Background()
	m, _ := authz.New(memory.New(), authz.Config{})
	app, secret, _ := m.RegisterApp(ctx, authz.NewApp{Name: "my app"})

	_, _ = m.SuspendApp(ctx, app.ClientID) // its client_secret has leaked
	_, err := m.AuthenticateApp(ctx, app.ClientID, secret)
	fmt.Println(err)

	_, _ = m.ResumeApp(ctx, app.ClientID)
	_, err = m.AuthenticateApp(ctx, app.ClientID, secret)
	fmt.Println(err)
	// Output:
	// authz: invalid client_id or client_secret
	// <nil>
}

// A reminder a week before a token ends; what has ended is removed.
func ExampleManager_ExpiringWithin() {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m, _ := authz.New(memory.New(), authz.Config{
		Lifetime: 30 * 24 * time.Hour, PurgeAfter: 24 * time.Hour, Now: func() time.Time { return now },
	})
	_, _ = m.Create(ctx, authz.Request{Owner: "mona", Note: "laptop"})

	now = now.Add(25 * 24 * time.Hour)
	for a, err := range m.ExpiringWithin(ctx, 7*24*time.Hour) {
		if err != nil {
			panic(err)
		}
		fmt.Println(a.Owner, a.Note, a.ExpiresAt.Format(time.DateOnly))
	}
	now = now.Add(25 * 24 * time.Hour)
	fmt.Println(m.Purge(ctx)) // a started Manager does it by itself
	// Output:
	// mona laptop 2026-01-31
	// 1 <nil>
}

func ExampleManager_Unused() {
	ctx := context.Background()
	m, _ := authz.New(memory.New(), authz.Config{})
	_, _ = m.Create(ctx, authz.Request{Owner: "mona", Note: "laptop"})
	_, _ = m.Create(ctx, authz.Request{Owner: "hubot", Note: "chat"})

	for a, err := range m.Unused(ctx, time.Now().Add(time.Hour)) { // mostly a date that is gone by
		if err != nil {
			panic(err)
		}
		fmt.Println(a.Owner, a.Note)
	}
	// Output:
	// mona laptop
	// hubot chat
}
