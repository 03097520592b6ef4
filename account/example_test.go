package account_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/store/memory"
	_ "modernc.org/sqlite"
)

// newKey stands for reading 32 bytes from a secret store or a file that is not
// in the database.
func newKey() authz.Secret {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return authz.NewSecret(string(key))
}

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "authz.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	users, err := account.New(account.SQLite(db), account.Config{Key: newKey()})
	if err != nil {
		log.Fatal(err)
	}
	if err := users.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	_, err = users.Create(ctx, account.NewUser{Login: "mona", Password: authz.NewSecret("correct horse")})
	if err != nil {
		log.Fatal(err)
	}

	// A request as curl -u mona sends it.
	r, _ := http.NewRequest(http.MethodGet, "https://example.com/authorizations", nil)
	r.SetBasicAuth("Mona", "correct horse")
	user, err := users.Authenticator().Authenticate(r)
	fmt.Println(user.ID, user.Login, err)

	r.SetBasicAuth("mona", "wrong")
	_, err = users.Authenticator().Authenticate(r)
	fmt.Println(errors.Is(err, authz.ErrBadCredentials))
	// Output:
	// 1 mona <nil>
	// true
}

// The user scans the QR code of the URI and types the first code.
func ExampleDirectory_EnrolOTP() {
	ctx := context.Background()
	users, err := account.New(account.Memory(), account.Config{Key: newKey(), Issuer: "Example"})
	if err != nil {
		log.Fatal(err)
	}
	mona, err := users.Create(ctx, account.NewUser{Login: "mona", Password: authz.NewSecret("correct horse")})
	if err != nil {
		log.Fatal(err)
	}
	enrolment, err := users.EnrolOTP(ctx, mona.ID)
	if err != nil {
		log.Fatal(err)
	}
	code, _ := totp.GenerateCode(enrolment.Secret.Reveal(), time.Now()) // the user's app
	recovery, err := users.ConfirmOTP(ctx, mona.ID, authz.NewSecret(code))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(recovery), "recovery codes")

	credentials := authz.Credentials{Login: "mona", Password: authz.NewSecret("correct horse")}
	_, err = users.Authenticate(ctx, credentials)
	var required *authz.OTPRequiredError
	fmt.Println(errors.As(err, &required))

	credentials.OTP = recovery[0]
	user, err := users.Authenticate(ctx, credentials)
	fmt.Println(user.Login, err)
	// Output:
	// 10 recovery codes
	// true
	// mona <nil>
}

func ExampleDirectory_Authenticate() {
	ctx := context.Background()
	users, err := account.New(account.Memory(), account.Config{MaxFailures: 3})
	if err != nil {
		log.Fatal(err)
	}
	_, err = users.Create(ctx, account.NewUser{Login: "mona", Password: authz.NewSecret("correct horse")})
	if err != nil {
		log.Fatal(err)
	}
	for _, password := range []string{"horse", "Correct Horse", "battery staple", "correct horse"} {
		_, err := users.Authenticate(ctx, authz.Credentials{Login: "mona", Password: authz.NewSecret(password)})
		var locked *authz.LockedError
		fmt.Println(errors.Is(err, authz.ErrBadCredentials), errors.As(err, &locked))
	}
	// Output:
	// true false
	// true false
	// true false
	// false true
}

// The answers to apps name the user that a token belongs to.
func ExampleDirectory_Lookup() {
	ctx := context.Background()
	users, err := account.New(account.Memory(), account.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mona, err := users.Create(ctx, account.NewUser{Login: "mona", Password: authz.NewSecret("correct horse")})
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := authz.New(memory.New(), authz.Config{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = authz.NewHandler(tokens, authz.HandlerConfig{
		Authenticator: users.Authenticator(),
		Users:         users.Lookup,
	})
	fmt.Println(err)

	user, err := users.Lookup(ctx, "1")
	fmt.Println(user.Login, err)
	if err := users.Disable(ctx, mona.ID); err != nil {
		log.Fatal(err)
	}
	_, err = users.Lookup(ctx, "1")
	fmt.Println(errors.Is(err, authz.ErrNotFound))
	// Output:
	// <nil>
	// mona <nil>
	// true
}

func ExampleDirectory_List() {
	ctx := context.Background()
	users, err := account.New(account.Memory(), account.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, login := range []string{"mona", "hubot", "octocat"} {
		if _, err := users.Create(ctx, account.NewUser{Login: login, Password: authz.NewSecret("correct horse")}); err != nil {
			log.Fatal(err)
		}
	}
	for after := int64(0); ; {
		page, err := users.List(ctx, after, 2)
		if err != nil {
			log.Fatal(err)
		}
		for _, u := range page {
			fmt.Println(u.ID, u.Login)
			after = u.ID
		}
		if len(page) < 2 {
			break
		}
	}
	// Output:
	// 1 mona
	// 2 hubot
	// 3 octocat
}
