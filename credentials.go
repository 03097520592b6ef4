package authz

import (
	"errors"
	"fmt"
	"strings"
)

// ErrMalformedCredentials says that an Authorization header cannot be read, or that
// there are several: RFC 6750 section 3.1 calls it invalid_request, 400.
var ErrMalformedCredentials = errors.New("authz: malformed credentials")

var errSeveral = fmt.Errorf("%w: more than one Authorization header", ErrMalformedCredentials)

// maxAuthorization bounds what is looked into; tokens have at most 53 bytes.
const maxAuthorization = 4 << 10

// BearerToken returns the token in the values of a request's Authorization header:
// "Bearer azt_…", or the scheme token, in any case. It is for transports that
// [NewMiddleware] does not know, such as gRPC with its metadata; give the token to
// [Manager.Verify], and put what that returns in [Manager.NewContext].
//
// Errors: [ErrNoCredentials], also for another scheme (401, codes.Unauthenticated);
// [ErrMalformedCredentials], also for several values (400, codes.Unauthenticated).
func BearerToken(authorization []string) (string, error) { return credentials(authorization, false) }

// credentials is BearerToken, with Basic authentication where that is wanted.
func credentials(authorization []string, basic bool) (token string, err error) {
	switch len(authorization) {
	case 0:
		return "", ErrNoCredentials
	case 1:
	default:
		return "", errSeveral
	}
	value := authorization[0]
	if len(value) > maxAuthorization {
		return "", ErrMalformedCredentials
	}
	scheme, rest, _ := strings.Cut(strings.Trim(value, " \t"), " ")
	switch {
	case scheme == "":
		return "", ErrNoCredentials
	case isScheme(scheme, "bearer"), isScheme(scheme, "token"):
		if rest = strings.TrimLeft(rest, " "); !isToken68(rest) {
			return "", ErrMalformedCredentials
		}
		return rest, nil
	case basic && isScheme(scheme, "basic"):
		return basicToken(rest)
	}
	for i := range len(scheme) {
		if c := scheme[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return "", ErrMalformedCredentials // no scheme at all (RFC 9110 section 11.1)
		}
	}
	return "", ErrNoCredentials // a scheme for somebody else (RFC 6750 section 3.1)
}

// basicToken takes a token from where git and its like put it.
func basicToken(encoded string) (string, error) {
	encoded = strings.ReplaceAll(encoded, " ", "") // as BasicAuth bears with it
	user, password, ok := "", "", isToken68(encoded)
	if ok {
		user, password, ok = decodeBasic(encoded)
	}
	token := password
	switch {
	case !ok, wellFormed(user) && wellFormed(password): // of two tokens neither is meant
		return "", ErrMalformedCredentials
	case password == "", password == "x-oauth-basic": //nolint:gosec // G101: it says that there is none
		token = user
	}
	if token == "" {
		return "", ErrMalformedCredentials
	}
	return token, nil
}

// isScheme compares without case. Unlike strings.EqualFold it knows ASCII alone: the
// Kelvin sign is no k.
func isScheme(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		if s[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// isToken68 is the grammar of RFC 9110 section 11.2, and of b64token in RFC 6750.
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		switch c := s[i]; c {
		case '-', '.', '_', '~', '+', '/':
		default:
			if !isAlphanumeric(c) {
				return false
			}
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
