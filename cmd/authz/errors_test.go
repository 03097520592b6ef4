package main

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// sentenceWanted checks an error: one line, that says what it should.
func sentenceWanted(t *testing.T, o outcome, code int, expr string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	if strings.Count(o.stderr, "\n") != 1 || !strings.HasPrefix(o.stderr, "authz: ") || !strings.HasSuffix(o.stderr, ".\n") {
		t.Errorf("not a sentence on one line: %q", o.stderr)
	}
	if !regexp.MustCompile(expr).MatchString(o.stderr) {
		t.Errorf("%q does not match %s", o.stderr, expr)
	}
	if o.stdout != "" {
		t.Errorf("stdout: %q", o.stdout)
	}
	if strings.Contains(o.stderr, "sekrit") {
		t.Errorf("a password in %q", o.stderr)
	}
}

func TestUsage(t *testing.T) {
	db := "sqlite:" + filepath.Join(t.TempDir(), "a.db")
	must(t, "", "migrate", "--store", db)
	for _, c := range []struct{ args, expr string }{
		{"nosuch", `unknown command "nosuch" \(see: authz --help\)`},
		{"dem", `did you mean "demo"`},
		{"app nosuch", `unknown command "nosuch" \(see: authz app --help\)`},
		{"token lst --user mona", `unknown command "lst", did you mean "list"\? \(see: authz token --help\)`},
		{"token --nosuch", `unknown flag: --nosuch \(see: authz token --help\)`},
		{"user otp nosuch", `see: authz user otp --help`},
		{"help nosuch", `no help on "nosuch"`},
		{"completion nosh", `nosh`},
		{"demo --nosuch", `unknown flag: --nosuch \(see: authz demo --help\)`},
		{"demo extra", `"extra" is one argument too many`},
		{"demo --addr nowhere", `must be HOST:PORT`},
		{"demo --addr 127.0.0.1:99999", `must be HOST:PORT`},
		{"demo --store nosuch:x", `must be memory:, sqlite:PATH or a postgres:// URL`},
		{"demo --store u:sekrit@h/d", `must be memory:`},
		{"demo --store sqlite:", `sqlite:PATH`},
		{"demo --store sqlite://x", `without //`},
		{"demo --store memory: --addr 127.0.0.1:0 --otp-reuse -1s", `--otp-reuse must not be negative`},
		{"demo --log-level loud", `--log-level must be`},
		{"demo --log-format xml", `--log-format must be`},
		{"serve --lifetime 3", `missing unit`},
		{"serve --store memory: --addr 127.0.0.1:0 --lifetime -3s", `--lifetime must not be negative`},
		{"serve --store memory: --addr 127.0.0.1:0 --scopes a\\b", `--scopes: .* no scope-token`},
		{`serve --store memory: --addr 127.0.0.1:0 --scopes repo,a"b`, `--scopes: .* no scope-token`},
		{"serve --store memory: --addr 127.0.0.1:0 --idle-timeout -3s", `--idle-timeout must not be negative`},
		{"serve --store memory: --addr 127.0.0.1:0 --purge-after -3s", `--purge-after must not be negative: 0 is for ever`},
		{"serve --store memory: --addr 127.0.0.1:0 --cache -1", `--cache must not be negative: 0 is for none`},
		{"serve --store memory: --addr 127.0.0.1:0 --listen-dsn postgres://u:sekrit@h/d", `--listen-dsn is for PostgreSQL`},
		{"demo --store postgres://u:sekrit@127.0.0.1:1/d --listen-dsn postgres://u:sekrit@h:bad/x", `--listen-dsn .* neither a valid postgres://`},
		{"serve --prefix x", `must begin with /`},
		{"serve --store memory: --addr 127.0.0.1:0 --prefix /a%b", `--prefix "/a%b"`},
		{"serve --store memory: --addr 127.0.0.1:0 --base-url x", `--base-url must be`},
		{"serve --trusted-proxy x", `--trusted-proxy "x"`},
		{"serve --tls-cert x", `go together`},
		{"demo --store postgres://u:sekrit@h:bad/x", `neither a valid postgres://`},
		{"migrate --store postgres://u:sekrit@[::1", `neither a valid postgres://`},
		{"migrate --store postgres://u:sekrit@h/x?pool_max_conns=many", `pool_max_conns in the DSN must be a number`},
		{"token list", `--user is required`},
		{"token grants", `--user is required`},
		{"token create --note x", `--user is required`},
		{"token create --user mona --note= ", `--note is required`},
		{"token create --user mona --note x --lifetime -1s --store " + db, `--lifetime must not be negative`},
		{"token revoke --user mona", `ID is missing`},
		{"token revoke 1", `--user is required`},
		{"token revoke one --user mona", `ID must be a number`},
		{"token revoke 0 --user mona", `ID must be a number`},
		{"token revoke-all", `--user or --app, or both`},
		{"token revoke-all --user mona --store " + db, `no terminal .* --yes`},
		{"token revoke-all --yes --user mona --app= --store " + db, `--app is empty`},
		{"token revoke-all --yes --user= --app nosuch --store " + db, `--user is empty`},
		{"token unused --store " + db, `--since is required`},
		{"token unused --since yesterday --store " + db, `--since "yesterday" must be how long ago, such as 90d`},
		{"token unused --since -3h --store " + db, `--since "-3h" must be in the past`},
		{"token expiring --store " + db, `--within is required`},
		{"token expiring --within soon --store " + db, `--within "soon" must be a time such as 7d`},
		{"token expiring --within 0d --store " + db, `--within "0d" must be a time`},
		{"token purge --after -3h --store " + db, `--after must not be negative`},
		{"app suspend --store " + db, `CLIENT_ID is missing`},
		{"app create", `--name is required`},
		{"app create --name x --client-id y", `go together`},
		{"app create --name x --url y --store " + db, `url must be an absolute`},
		{"app show", `CLIENT_ID is missing`},
		{"app update x", `--name or --url`},
		{"app delete x --store " + db, `no terminal .* --yes`},
		{"app list --store memory:", `ends with each command`},
		{"app list --store x --store-file y", `not both`},
		{"app rotate-secret x --overlap -1s", `--overlap must not be negative`},
		{"user create --store " + db, `LOGIN is missing`},
		{"user create mona --store " + db, `no terminal .* --password-file`},
		{"user create a:b --generate-password --store " + db, `login must not hold`},
		{"user create mona --generate-password --password-file x --store " + db, `not both`},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(c.args)
			sentenceWanted(t, call(t, "", args...), exitUsage, c.expr)
			o := call(t, "", append(args, "--json")...)
			if text := decode[map[string]string](t, o.stderr)["error"]; text == "" || o.code != exitUsage || o.stdout != "" {
				t.Errorf("with --json: exit %d, %s", o.code, o.stderr)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	db := "sqlite:" + filepath.Join(dir, "a.db")
	must(t, "", "migrate", "--store", db)
	must(t, "", "user", "create", "mona", "--generate-password", "--store", db)
	noDB := filepath.Join(dir, "text.db")
	write(t, noDB, strings.Repeat("no database\n", 1000))
	write(t, filepath.Join(dir, "bad.key"), "no key\n")
	write(t, filepath.Join(dir, "empty"), "\n")
	for _, c := range []struct {
		args, expr string
	}{
		{"demo --addr 127.0.0.1:0 --store sqlite:" + filepath.Join(dir, "no", "a.db"), `the folder \S+ does not exist: create it`},
		{"demo --addr 127.0.0.1:0 --store sqlite:" + noDB, `not an SQLite database.*give another path`},
		{"migrate --store sqlite:" + dir, `is a directory: give the path of a file`},
		{"demo --addr 127.0.0.1:0 --store " + db + " --key-file " + filepath.Join(dir, "bad.key"), `bad.key is no key file`},
		{"demo --addr 127.0.0.1:0 --store " + db + " --key-file " + filepath.Join(dir, "no", "x"), `the folder \S+ does not exist: create it`},
		{"demo --store-file " + filepath.Join(dir, "nosuch"), `--store-file: .*no such file`},
		{"demo --store-file " + filepath.Join(dir, "empty"), `is empty`},
		{"app list --store sqlite:" + filepath.Join(dir, "nosuch.db"), `there is no database .*authz migrate`},
		{"app show nosuch --store " + db, `there is no app "nosuch" .*authz app list`},
		{"app update nosuch --name x --store " + db, `there is no app "nosuch"`},
		{"app rotate-secret nosuch --store " + db, `there is no app "nosuch"`},
		{"app delete nosuch --yes --store " + db, `there is no app "nosuch"`},
		{"app suspend nosuch --store " + db, `there is no app "nosuch" .*authz app list`},
		{"app resume nosuch --store " + db, `there is no app "nosuch"`},
		{"user enable nosuch --store " + db, `there is no user "nosuch"`},
		{"token purge --store sqlite:" + filepath.Join(dir, "nosuch.db"), `there is no database`},
		{"user disable nosuch --store " + db, `there is no user "nosuch" .*authz user list`},
		{"user disable nosuch --revoke --store " + db, `there is no user "nosuch"`},
		{"token list --user nosuch --store " + db, `there is no user "nosuch" .*authz user list`},
		{"token list --user mona --app nosuch --store " + db, `there is no app "nosuch" .*authz app list`},
		{"token revoke 7 --user mona --store " + db, `mona has no token 7: see authz token list --user mona`},
		{"token revoke-all --yes --app nosuch --store " + db, `there is no app "nosuch"`},
		{"token list --user mona --store sqlite:" + filepath.Join(dir, "nosuch.db"), `there is no database`},
		{"user create MONA --generate-password --store " + db, `"MONA" is taken`},
		{"user otp confirm mona --store " + db, `key file \S+ does not exist: begin with authz user otp enrol`},
		{"migrate --store postgres://u:sekrit@127.0.0.1:1/d", `127\.0\.0\.1:1 .*does not answer.*see that the server runs`},
		{"demo --addr 127.0.0.1:0 --store postgres://u:sekrit@127.0.0.1:1/d", `does not answer`},
	} {
		t.Run(c.args, func(t *testing.T) {
			sentenceWanted(t, call(t, "123456\n", strings.Fields(c.args)...), exitFailed, c.expr)
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "nosuch.db")); err == nil {
		t.Error("a command that only reads has made a database")
	}
}

// A setting that cannot be is refused before anything is made.
func TestRefusedBeforeAnything(t *testing.T) {
	for _, setting := range [][]string{
		{"serve", "--base-url", "x"}, {"serve", "--prefix", "/a%b"}, {"serve", "--scopes", "a\\b"}, {"serve", "--lifetime", "-1s"}, {"serve", "--idle-timeout", "-1s"}, {"serve", "--cache", "-1"}, {"serve", "--purge-after", "-1s"}, {"serve", "--listen-dsn", "x"}, {"demo", "--otp-reuse", "-1s"},
	} {
		dir := t.TempDir()
		o := call(t, "", append(setting, "--addr", "127.0.0.1:0", "--store", "sqlite:"+filepath.Join(dir, "a.db"))...)
		sentenceWanted(t, o, exitUsage, setting[1])
		if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
			t.Errorf("%s: made %v, %v", setting, made, err)
		}
	}
}

// TestSilentPostgres connects to a server that says nothing.
func TestSilentPostgres(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	begin := time.Now()
	sentenceWanted(t, call(t, "", "migrate", "--store", "postgres://u:sekrit@"+ln.Addr().String()+"/d?sslmode=disable"), exitFailed, `does not answer`)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestBusyPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	db := filepath.Join(t.TempDir(), "a.db")
	for _, name := range []string{"demo", "serve"} {
		sentenceWanted(t, call(t, "", name, "--addr", ln.Addr().String(), "--store", "sqlite:"+db), exitFailed,
			regexp.QuoteMeta(ln.Addr().String())+` is in use: stop what listens there or give --addr 127\.0\.0\.1:0`)
	}
	if _, err := os.Stat(db); err == nil {
		t.Error("the database was made all the same")
	}
}

func TestNewerSchema(t *testing.T) {
	eachStore(t, func(t *testing.T, store string) {
		must(t, "", "migrate", "--store", store)
		driver, dsn := "postgres", store
		if path, ok := strings.CutPrefix(store, "sqlite:"); ok {
			driver, dsn = "sqlite", path
		}
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, part := range []string{"store", "account"} {
			if _, err := db.Exec(`INSERT INTO authz_schema (part, version, name) VALUES ($1, 999, 'future')`, part); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"demo", "--addr", "127.0.0.1:0"}, {"serve", "--addr", "127.0.0.1:0"}, {"migrate"}, {"app", "list"}} {
				sentenceWanted(t, call(t, "", append(args, "--store", store)...), exitRefused, `version 999 .*run the newer program`)
			}
			if _, err := db.Exec(`DELETE FROM authz_schema WHERE version = 999`); err != nil {
				t.Fatal(err)
			}
		}
		must(t, "", "app", "list", "--store", store)
	})
}

// loudSkip skips in a way that is seen without -v.
func loudSkip(t *testing.T, why string) {
	t.Helper()
	fmt.Fprintf(os.Stderr, "SKIPPED %s: %s\n", t.Name(), why)
	t.Skip(why)
}

// tmpfs mounts a small file system.
func tmpfs(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		loudSkip(t, "only root can mount a small file system")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		loudSkip(t, fmt.Sprintf("no tmpfs can be mounted: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	mount := os.Getuid() == 0 // root can write what it may not
	if mount {
		dir = tmpfs(t, "4m")
	}
	path := filepath.Join(dir, "a.db")
	must(t, "", "migrate", "--store", "sqlite:"+path)
	if mount {
		if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
			loudSkip(t, fmt.Sprintf("no remount: %v: %s", err, out))
		}
	} else if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	sentenceWanted(t, call(t, "", "demo", "--addr", "127.0.0.1:0", "--store", "sqlite:"+path), exitFailed, `permission`)
	if mount {
		sentenceWanted(t, call(t, "", "migrate", "--store", "sqlite:"+filepath.Join(dir, "new.db")), exitFailed, `give another path`)
	}
}

// TestFullDisk fills a disk with apps: the last one fails with a sentence, and
// all that were acknowledged are there.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "1m")
	store := "sqlite:" + filepath.Join(dir, "a.db")
	p, c := startDemo(t, store)
	c.mona(t, c.BaseURL, "").want(t, 201)
	var acknowledged []string
	write(t, filepath.Join(dir, "ballast"), strings.Repeat("x", 256<<10))
	var failed response
	for i := 0; ; i++ {
		r := c.put(t, c.BaseURL, fmt.Sprintf("/%d-%s", i, strings.Repeat("x", 200)), c.Login, c.Password, "")
		if r.status != 201 {
			failed = r
			break
		}
		acknowledged = append(acknowledged, decode[wireAuthorization](t, r.body).Token)
		if i > 5000 {
			t.Fatal("the disk does not fill")
		}
	}
	failed.want(t, 503)
	apps := 1
	for ; ; apps++ {
		o := call(t, "", "app", "create", "--name", strings.Repeat("x", 250), "--url", "http://x/"+strings.Repeat("x", 2000), "--store", store, "--json")
		if o.code != exitOK {
			o.stderr = "authz: " + decode[map[string]string](t, o.stderr)["error"] + ".\n"
			sentenceWanted(t, o, exitFailed, `free some space`)
			break
		}
	}
	if got := decode[[]wireApp](t, must(t, "", "app", "list", "--json", "--store", store)); len(got) != apps {
		t.Errorf("%d apps are listed, %d were acknowledged", len(got), apps)
	}
	do(t, "GET", c.BaseURL+"/user", "", "Authorization", "token "+acknowledged[0]).want(t, 200)
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	c.mona(t, c.BaseURL, "/room-again").want(t, 201)
	for _, token := range acknowledged {
		do(t, "GET", c.BaseURL+"/user", "", "Authorization", "token "+token).want(t, 200)
	}
	p.stop()
}
