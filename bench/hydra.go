package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"
)

// startHydra starts ory/hydra on the loopback with its data in memory, and has it
// make a few tokens. addr is that of its admin API, which introspects.
func startHydra(program string) (addr string, tokens []string, end func(), err error) {
	public, err := freePort()
	if err != nil {
		return "", nil, nil, err
	}
	admin, err := freePort()
	if err != nil {
		return "", nil, nil, err
	}
	addr, issuer := "127.0.0.1:"+admin, "http://127.0.0.1:"+public
	var log bytes.Buffer
	cmd := exec.Command(program, "serve", "all", "--dev", "--sqa-opt-out")
	cmd.Env = append(os.Environ(), "DSN=memory", "LOG_LEVEL=fatal", "SECRETS_SYSTEM=only-for-measurements-0123456789", "URLS_SELF_ISSUER="+issuer,
		"SERVE_PUBLIC_HOST=127.0.0.1", "SERVE_PUBLIC_PORT="+public, "SERVE_ADMIN_HOST=127.0.0.1", "SERVE_ADMIN_PORT="+admin)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return "", nil, nil, err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	end = func() {
		_ = cmd.Process.Kill()
		<-exited
	}
	tokens, err = hydraTokens("http://"+addr, issuer, exited)
	if err != nil {
		end()
		return "", nil, nil, fmt.Errorf("%w; its log: %.500s", err, log.String())
	}
	return addr, tokens, end, nil
}

func hydraTokens(admin, issuer string, exited <-chan struct{}) ([]string, error) {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(admin + "/health/ready")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-exited:
			return nil, errors.New("it has ended")
		default:
		}
		if time.Since(began) > time.Minute {
			return nil, errors.New("it does not get ready")
		}
	}
	const client = `{"client_id":"shop","client_secret":"only-for-measurements","grant_types":["client_credentials"],"token_endpoint_auth_method":"client_secret_post"}`
	if err := post(admin+"/admin/clients", "application/json", client, nil); err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"shop"}, "client_secret": {"only-for-measurements"}}.Encode()
	tokens := make([]string, 8)
	for i := range tokens {
		var answer struct {
			Token string `json:"access_token"`
		}
		if err := post(issuer+"/oauth2/token", "application/x-www-form-urlencoded", form, &answer); err != nil {
			return nil, err
		}
		tokens[i] = answer.Token
	}
	return tokens, nil
}

func post(to, contentType, body string, into any) error {
	res, err := http.Post(to, contentType, strings.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s: %.200s", to, res.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// freePort is free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
