package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/client"
	"github.com/seed-926035fd/authz/store/memory"
)

const (
	exampleClientID     = "48d7a11493b05cd029d4"
	exampleClientSecret = "1fe0abe7d066a6482dc9d5b48f2771c97ec19cdb"
)

// exampleServer is what examples talk to: mona logs in by password, hubot by
// password and code, and GET /user says whose token it is.
type exampleServer struct {
	*httptest.Server
	manager *authz.Manager
}

func newExampleServer() *exampleServer {
	manager, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	_, _, err = manager.RegisterApp(context.Background(), authz.NewApp{
		Name: "whoami", ClientID: exampleClientID, ClientSecret: authz.NewSecret(exampleClientSecret),
	})
	if err != nil {
		log.Fatal(err)
	}
	api, err := authz.NewHandler(manager, authz.HandlerConfig{
		Authenticator: authz.BasicAuth(func(_ context.Context, c authz.Credentials) (authz.User, error) {
			if !c.Password.Equal(authz.NewSecret("correct horse")) {
				return authz.User{}, authz.ErrBadCredentials
			}
			if c.Login == "hubot" && !c.OTP.Equal(authz.NewSecret("123456")) {
				return authz.User{}, &authz.OTPRequiredError{}
			}
			return authz.User{ID: c.Login, Login: c.Login}, nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/authorizations", "/authorizations/", "/applications/"} {
		mux.Handle(path, api)
	}
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, r *http.Request) {
		a, err := manager.Verify(r.Context(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if err != nil {
			http.Error(w, "Bad credentials", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, a.Owner)
	})
	return &exampleServer{httptest.NewServer(mux), manager}
}

func (s *exampleServer) revokeAll() {
	if _, err := s.manager.RevokeAll(context.Background(), authz.Revocation{ClientID: exampleClientID}); err != nil {
		log.Fatal(err)
	}
}

// exampleClient is a Client of a server that lives as long as the test binary.
func exampleClient() (*client.Client, client.Credentials) {
	c, err := client.New(client.Config{
		BaseURL:      newExampleServer().URL, // yours begins with https
		ClientID:     exampleClientID,
		ClientSecret: client.NewSecret(exampleClientSecret),
	})
	if err != nil {
		log.Fatal(err)
	}
	return c, client.Credentials{Login: "mona", Password: client.NewSecret("correct horse")}
}

func ExampleNew() {
	_, err := client.New(client.Config{BaseURL: "http://api.example.com"})
	fmt.Println(err)
	_, err = client.New(client.Config{BaseURL: "https://api.example.com/api/v3"})
	fmt.Println(err)
	// Output:
	// client: Config.BaseURL is http to another machine, where passwords and tokens could be read on the way: use https, or set AllowInsecure
	// <nil>
}

func ExampleClient_GetOrCreate() {
	c, mona := exampleClient()
	ctx := context.Background()
	req := client.Request{Scopes: []string{"repo"}, Note: "laptop", Fingerprint: "laptop"}
	first, err := c.GetOrCreate(ctx, mona, req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Created, first.ID, len(first.Token.Reveal()), first.Token)

	// The server does not keep tokens.
	_, err = c.GetOrCreate(ctx, mona, req)
	var none *client.NoTokenError
	if errors.As(err, &none) {
		fmt.Println("no token of authorization", none.Authorization.ID)
	}

	req.OnExisting = client.OnExistingRotate
	again, err := c.GetOrCreate(ctx, mona, req)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.Created, again.ID, again.Token.Reveal() == first.Token.Reveal())
	// Output:
	// true 1 40 [redacted]
	// no token of authorization 1
	// false 1 false
}

// The caller says where the token is kept, by two methods.
func ExampleClient_Token() {
	c, mona := exampleClient()
	var kept keptInMemory
	login := func(context.Context) (client.Credentials, error) {
		fmt.Println("login, please")
		return mona, nil
	}
	for range 2 {
		token, err := c.Token(context.Background(), &kept, login, client.Request{OnExisting: client.OnExistingRotate})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(token))
	}
	// Output:
	// login, please
	// 40
	// 40
}

type keptInMemory string

func (k *keptInMemory) Load(context.Context) (string, error) { return string(*k), nil }

func (k *keptInMemory) Save(_ context.Context, token string) error {
	*k = keptInMemory(token)
	return nil
}

// A personal token belongs to no app: the Config has no ClientID.
func ExampleClient_Create() {
	server := newExampleServer()
	defer server.Close()
	c, err := client.New(client.Config{BaseURL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	mona := client.Credentials{Login: "mona", Password: client.NewSecret("correct horse")}
	a, err := c.Create(context.Background(), mona, client.Request{Note: "backup script", Scopes: []string{"repo"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(a.Note, a.Scopes, a.App.ClientID == client.PersonalClientID)

	_, err = c.Create(context.Background(), mona, client.Request{Note: "backup script"})
	var e *client.Error
	if errors.As(err, &e) {
		fmt.Println(e.StatusCode, e.Errors[0].Field, e.Errors[0].Code, e.ExistingURL == a.URL)
	}
	// Output:
	// backup script [repo] true
	// 422 note already_exists true
}

func ExampleClient_List() {
	c, mona := exampleClient()
	ctx := context.Background()
	for _, machine := range []string{"laptop", "desktop"} {
		_, err := c.GetOrCreate(ctx, mona, client.Request{Fingerprint: machine})
		if err != nil {
			log.Fatal(err)
		}
	}
	for a, err := range c.List(ctx, mona, exampleClientID) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(a.ID, a.App.Name, a.Fingerprint)
	}
	// Output:
	// 1 whoami laptop
	// 2 whoami desktop
}

func ExampleClient_Update() {
	c, mona := exampleClient()
	ctx := context.Background()
	a, err := c.GetOrCreate(ctx, mona, client.Request{Scopes: []string{"repo", "user"}})
	if err != nil {
		log.Fatal(err)
	}
	note := "the old laptop"
	changed, err := c.Update(ctx, mona, a.ID, client.Update{RemoveScopes: []string{"user"}, Note: &note})
	fmt.Println(changed.Scopes, changed.Note, err)
	// Output:
	// [repo] the old laptop <nil>
}

// What an app does with its own tokens.
func ExampleClient_Check() {
	c, mona := exampleClient()
	ctx := context.Background()
	a, err := c.GetOrCreate(ctx, mona, client.Request{Scopes: []string{"repo"}})
	if err != nil {
		log.Fatal(err)
	}
	token := a.Token.Reveal()
	checked, err := c.Check(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(checked.User.Login, checked.Scopes)

	if err := c.Revoke(ctx, token); err != nil {
		log.Fatal(err)
	}
	_, err = c.Check(ctx, token)
	var e *client.Error
	fmt.Println(errors.As(err, &e) && e.StatusCode == http.StatusNotFound)
	// Output:
	// mona [repo]
	// true
}
