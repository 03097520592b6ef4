package main

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/seed-926035fd/authz/internal/pgtest"
)

// startDemo starts the demo on a free port.
func startDemo(t *testing.T, store string, args ...string) (*process, demoCredentials) {
	t.Helper()
	p := start(t, append([]string{"demo", "--addr", "127.0.0.1:0", "--store", store, "--json", "--log-level", "debug"}, args...)...)
	return p, decode[demoCredentials](t, p.line())
}

func (c demoCredentials) put(t *testing.T, base, fingerprint, login, password, code string) response {
	t.Helper()
	headers := []string{"basic", login + ":" + password}
	if code != "" {
		headers = append(headers, "X-GitHub-OTP", code)
	}
	return do(t, "PUT", base+"/authorizations/clients/"+c.ClientID+fingerprint,
		fmt.Sprintf(`{"client_secret":%q,"scopes":["public_repo","user"],"note":"admin script"}`, c.ClientSecret), headers...)
}

func (c demoCredentials) mona(t *testing.T, base, fingerprint string) response {
	t.Helper()
	return c.put(t, base, fingerprint, c.Login, c.Password, "")
}

func (c demoCredentials) hubot(t *testing.T, fingerprint, code string) response {
	t.Helper()
	return c.put(t, c.BaseURL, fingerprint, c.OTPLogin, c.OTPPassword, code)
}

func codeAt(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestDemo(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testDemo(t, "memory:") })
	eachStore(t, testDemo)
}

// testDemo does what the demo prints, and then searches the log for secrets.
func testDemo(t *testing.T, store string) {
	p, c := startDemo(t, store)
	if c.Login != "mona" || c.OTPLogin != "hubot" || len(c.ClientID) != 20 || len(c.ClientSecret) != 40 || len(c.OTPSecret) != 32 {
		t.Errorf("credentials %+v", c)
	}
	var secrets []string
	token := func(r response) string {
		v := decode[wireAuthorization](t, r.body)
		if v.Token == "" {
			t.Errorf("no token: %s", r.body)
		}
		secrets = append(secrets, v.Token)
		return v.Token
	}

	created := c.mona(t, c.BaseURL, "").want(t, 201)
	tok := token(created)
	again := c.mona(t, c.BaseURL, "").want(t, 200)
	first, second := decode[wireAuthorization](t, created.body), decode[wireAuthorization](t, again.body)
	if second.Token != "" || second.ID != first.ID || first.URL != fmt.Sprintf("%s/authorizations/%d", c.BaseURL, first.ID) {
		t.Errorf("again: %s", again.body)
	}
	token(c.mona(t, c.BaseURL+"/api/v3", "/laptop").want(t, 201))
	c.mona(t, c.BaseURL, "/laptop").want(t, 200)

	// The first code after the start must be good, and good once.
	required := c.hubot(t, "", "").want(t, 401)
	if got := required.header.Get("X-GitHub-OTP"); got != "required; app" {
		t.Errorf("X-GitHub-OTP: %q", got)
	}
	code := codeAt(t, c.OTPSecret, time.Now())
	token(c.hubot(t, "", code).want(t, 201))
	c.hubot(t, "", code).want(t, 401)
	c.hubot(t, "", codeAt(t, c.OTPSecret, time.Now().Add(30*time.Second))).want(t, 200)

	for _, path := range []string{"/user", "/api/v3/user"} {
		for _, scheme := range []string{"token", "Bearer", "bearer"} {
			r := do(t, "GET", c.BaseURL+path, "", "Authorization", scheme+" "+tok).want(t, 200)
			u := decode[map[string]any](t, r.body)
			if u["login"] != "mona" || u["id"] != 1.0 || u["url"] != c.BaseURL+path || r.header.Get("X-OAuth-Scopes") != "public_repo, user" {
				t.Errorf("GET %s: %s, scopes %q", path, r.body, r.header.Get("X-OAuth-Scopes"))
			}
		}
	}
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 200, "/nosuch": 404, "/user": 401, "/api/v3": 404} {
		do(t, "GET", c.BaseURL+path, "").want(t, status)
	}
	p.stop()

	secrets = append(secrets, c.Password, c.OTPPassword, c.OTPSecret, c.ClientSecret,
		base64.StdEncoding.EncodeToString([]byte(c.Login+":"+c.Password)),
		base64.StdEncoding.EncodeToString([]byte(c.OTPLogin+":"+c.OTPPassword)))
	log := p.stderr.String()
	if !strings.Contains(log, "status=201") {
		t.Errorf("no request in the log: %s", log)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds the secret %q", secret)
		}
	}
}

func TestDemoTwice(t *testing.T) {
	eachStore(t, func(t *testing.T, store string) {
		p, c := startDemo(t, store)
		c.mona(t, c.BaseURL, "").want(t, 201)
		code := codeAt(t, c.OTPSecret, time.Now())
		c.hubot(t, "", code).want(t, 201)
		p.stop()

		p, again := startDemo(t, store)
		again.mona(t, again.BaseURL, "").want(t, 200)
		again.hubot(t, "", code).want(t, 401) // a code that was used does not come back
		again.hubot(t, "", codeAt(t, c.OTPSecret, time.Now().Add(30*time.Second))).want(t, 200)
		p.stop()
		if again.BaseURL = c.BaseURL; again != c {
			t.Errorf("other credentials: %+v, then %+v", c, again)
		}
	})
}

func TestDemosAtOnce(t *testing.T) {
	const n = 4
	eachStore(t, func(t *testing.T, store string) {
		var processes []*process
		for range n {
			processes = append(processes, start(t, "demo", "--addr", "127.0.0.1:0", "--store", store, "--json"))
		}
		creds := make([]demoCredentials, n)
		statuses := make([]int, n)
		var wg sync.WaitGroup
		for i, p := range processes {
			line := p.line()
			wg.Go(func() {
				creds[i] = decode[demoCredentials](t, line)
				creds[i].mona(t, creds[i].BaseURL, fmt.Sprintf("/own-%d", i)).want(t, 201)
				statuses[i] = creds[i].mona(t, creds[i].BaseURL, "/shared").status
				creds[i].hubot(t, "", "").want(t, 401)
			})
		}
		wg.Wait()
		created := 0
		for i, c := range creds {
			if statuses[i] == 201 {
				created++
			} else if statuses[i] != 200 {
				t.Errorf("demo %d answered %d", i, statuses[i])
			}
			if c.BaseURL = creds[0].BaseURL; c != creds[0] {
				t.Errorf("demo %d has other credentials: %+v and %+v", i, c, creds[0])
			}
		}
		if created != 1 {
			t.Errorf("%d of them answered 201", created)
		}
		// One code, sent to all, is good at one.
		code, accepted := codeAt(t, creds[0].OTPSecret, time.Now()), 0
		for _, c := range creds {
			if c.hubot(t, "", code).status == 201 {
				accepted++
			}
		}
		if accepted != 1 {
			t.Errorf("one code was accepted by %d processes", accepted)
		}
		for _, p := range processes {
			p.stop()
		}
	})
}

// TestDemoSetsBack changes all that the demo has made, and runs it again.
func TestDemoSetsBack(t *testing.T) {
	store := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	p, c := startDemo(t, store)
	p.stop()
	must(t, "another password\n", "user", "passwd", "mona", "--password-file", "-", "--store", store)
	must(t, "", "user", "otp", "remove", "hubot", "--store", store)
	must(t, "", "user", "disable", "hubot", "--store", store)
	must(t, "", "app", "delete", c.ClientID, "--yes", "--store", store)

	p, again := startDemo(t, store)
	if again.ClientID == c.ClientID || again.ClientSecret == c.ClientSecret {
		t.Errorf("the client_id %s of an app that is gone was used again", c.ClientID)
	}
	again.mona(t, again.BaseURL, "").want(t, 201)
	again.hubot(t, "", codeAt(t, again.OTPSecret, time.Now())).want(t, 201)

	// A lock is no business of the next start.
	for range 10 {
		again.put(t, again.BaseURL, "", "mona", "wrong password", "").want(t, 401)
	}
	again.mona(t, again.BaseURL, "").want(t, 403)
	p.stop()
	p, again = startDemo(t, store)
	again.mona(t, again.BaseURL, "").want(t, 403)
	p.logged("locked")
	must(t, "", "user", "unlock", "mona", "--store", store)
	again.mona(t, again.BaseURL, "").want(t, 200)
	p.stop()
}

func TestDemoOTPReuse(t *testing.T) {
	p, c := startDemo(t, "memory:", "--otp-reuse", "90s")
	code := codeAt(t, c.OTPSecret, time.Now())
	c.hubot(t, "", code).want(t, 201)
	c.hubot(t, "", code).want(t, 200)
	p.stop()
}

// TestDemoPaste pastes what the demo prints into a shell.
func TestDemoPaste(t *testing.T) {
	for _, name := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	t.Setenv(runMain, "1") // the lines call this test binary
	p := start(t, "demo", "--addr", "127.0.0.1:0", "--store", "memory:")
	var script, text strings.Builder
	for {
		line := p.line()
		fmt.Fprintln(&text, line)
		if strings.HasPrefix(line, "Ctrl-C") {
			break
		}
		if strings.HasPrefix(line, "curl ") || strings.HasPrefix(line, "TOKEN=") {
			fmt.Fprintln(&script, line)
		}
	}
	out, err := exec.Command("sh", "-ec", script.String()).Output()
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	var statuses []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(line, "HTTP/") {
			statuses = append(statuses, fields[1])
		}
	}
	if got := strings.Join(statuses, " "); got != "201 200 201 201 200 200 200 200 200" {
		t.Errorf("statuses %s of\n%s\n%s", got, script.String(), out)
	}
	if alive := regexp.MustCompile(`"active": (true|false)`).FindAllString(string(out), -1); !slices.Equal(alive, []string{`"active": true`, `"active": false`}) {
		t.Errorf("introspection before and after the revocation: %q", alive)
	}
	p.stop()
}

func TestDemoCode(t *testing.T) {
	secret := "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	seed, err := base32.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{59, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000} {
		now := time.Unix(at, 0)
		if got, want := totpCode(seed, now), codeAt(t, secret, now); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
	if out := strings.TrimSpace(must(t, "jbsw y3dp ehpk 3pxp\n", "demo", "code")); len(out) != 6 {
		t.Errorf("demo code printed %q", out)
	}
	if o := call(t, "not base32!\n", "demo", "code"); o.code != exitUsage {
		t.Errorf("exit %d: %s", o.code, o.stderr)
	}
}

// TestClosedStdout runs the demo for a reader that has gone.
func TestClosedStdout(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("pipes differ")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	cmd := command(t, "demo", "--addr", "127.0.0.1:0", "--store", "memory:", "--json")
	p := &process{Cmd: cmd, t: t, stderr: new(lockedBuffer), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() { _ = cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-p.exited })
	base := p.logged(`base_url=(\S+)`)
	p.logged("could not be written")
	do(t, "GET", base+"/readyz", "").want(t, 200)
	p.stop()
}

// The demo, users included, works behind PgBouncer in transaction mode.
func TestDemoPooler(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	pooler := pgtest.PgBouncer(t, pgtest.DSN(t), 4)
	_, c := startDemo(t, pooler)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			own := fmt.Sprintf("/machine-%d", i)
			c.mona(t, c.BaseURL, own).want(t, 201)
			c.mona(t, c.BaseURL, own).want(t, 200)
		})
	}
	wg.Wait()
	if body := c.mona(t, c.BaseURL, "/machine-3").want(t, 200).body; !strings.Contains(body, `"fingerprint": "machine-3"`) {
		t.Errorf("another client's answer: %s", body)
	}
}
