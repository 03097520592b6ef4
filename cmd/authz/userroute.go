package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-926035fd/authz"
	"github.com/seed-926035fd/authz/account"
	"github.com/seed-926035fd/authz/store"
)

// userRoute is GET /user: what a host's own routes look like that are protected
// by the tokens which the API hands out. It stands behind the middleware.
type userRoute struct {
	users  *account.Directory
	routes routes
	path   string
	log    *slog.Logger
}

// wireUser has the names of GitHub's GET /user.
type wireUser struct {
	Login     string    `json:"login"`
	ID        int64     `json:"id"`
	URL       string    `json:"url"`
	Type      string    `json:"type"`
	SiteAdmin bool      `json:"site_admin"`
	TwoFactor bool      `json:"two_factor_authentication"`
	CreatedAt timestamp `json:"created_at"`
	UpdatedAt timestamp `json:"updated_at"`
}

func (u *userRoute) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	authorization, _ := authz.FromContext(ctx)
	user, err := u.owner(ctx, authorization)
	switch {
	case errors.Is(err, authz.ErrInvalidToken):
		answer(w, http.StatusUnauthorized, message{"Bad credentials"})
		return
	case err != nil: // the store's: says nothing about the token
		u.log.LogAttrs(ctx, slog.LevelError, "user route", slog.String("error", err.Error()))
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, message{"Service unavailable"})
		return
	}
	answer(w, http.StatusOK, wireUser{
		Login: user.Login, ID: user.ID, URL: u.routes.origin(r) + u.path, Type: "User", TwoFactor: user.OTP,
		CreatedAt: timestamp(user.CreatedAt), UpdatedAt: timestamp(user.UpdatedAt),
	})
}

// owner returns the user that an authorization belongs to. One who is disabled is
// refused here too: it may have been done by a program that suspends no tokens.
func (u *userRoute) owner(ctx context.Context, a *authz.Authorization) (account.User, error) {
	id, err := strconv.ParseInt(a.Owner, 10, 64)
	if err != nil {
		return account.User{}, authz.ErrInvalidToken // not one of this directory's
	}
	user, err := u.users.User(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !user.DisabledAt.IsZero() {
		return account.User{}, authz.ErrInvalidToken
	}
	return user, err
}

// origin is the server as the client names it, found as the API finds it.
func (rt routes) origin(r *http.Request) string {
	if rt.baseURL != "" {
		return rt.baseURL
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	nearest := func(header string) string { // what the nearest proxy has set
		values := strings.Split(strings.Join(r.Header.Values(header), ","), ",")
		return strings.TrimSpace(values[len(values)-1])
	}
	if err == nil && slices.ContainsFunc(rt.trustedProxies, func(p netip.Prefix) bool { return p.Contains(remote.Addr().Unmap().WithZone("")) }) {
		if proto := strings.ToLower(nearest("X-Forwarded-Proto")); proto == "http" || proto == "https" {
			scheme = proto
		}
		if u, err := url.Parse("//" + nearest("X-Forwarded-Host")); err == nil && u.Host != "" && u.String() == "//"+u.Host {
			host = u.Host
		}
	}
	return scheme + "://" + host
}
