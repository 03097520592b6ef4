package client

import (
	"context"
	"fmt"
	"net/http"
)

// Check returns the authorization of one of the app's tokens, with the token and
// its User. A token that is dead, unknown or another app's is an *Error with
// StatusCode 404.
func (c *Client) Check(ctx context.Context, token string) (Authorization, error) {
	return c.ofToken(ctx, "check", http.MethodPost, token)
}

// Reset gives the authorization of one of the app's tokens a new token and
// returns it with that, and its User; the old token is dead at once. Errors as
// of [Client.Check].
func (c *Client) Reset(ctx context.Context, token string) (Authorization, error) {
	return c.ofToken(ctx, "reset", http.MethodPatch, token)
}

// Revoke deletes the authorization of one of the app's tokens, which is dead
// when Revoke returns. Errors as of [Client.Check].
func (c *Client) Revoke(ctx context.Context, token string) error {
	_, err := c.asApp(ctx, "revoke", http.MethodDelete, "/token", token)
	return err
}

// RevokeGrant revokes all of the app's tokens that belong to the user of this
// one. Errors as of [Client.Check]; 404 also if it was carried out and its answer
// lost, since the token is dead then as it would be otherwise.
func (c *Client) RevokeGrant(ctx context.Context, token string) error {
	_, err := c.asApp(ctx, "revoke grant", http.MethodDelete, "/grant", token)
	return err
}

func (c *Client) ofToken(ctx context.Context, op, method, token string) (Authorization, error) {
	a, err := c.asApp(ctx, op, method, "/token", token)
	if err != nil {
		return Authorization{}, err
	}
	return a.withToken(op)
}

func (c *Client) asApp(ctx context.Context, op, method, path, token string) (answer, error) {
	if c.cfg.ClientID == "" {
		return answer{}, fmt.Errorf("client: %s: %w", op, errNoApp)
	}
	return c.do(ctx, call{
		op: op, method: method, path: "/applications/" + c.cfg.ClientID + path, token: token,
		body: map[string]string{"access_token": token}, keyed: method == http.MethodPatch,
		// That the token is gone says nothing of the others of its grant.
		gone: method == http.MethodDelete && path == "/token",
	})
}
