package authz

import (
	"errors"
	"strings"

	"github.com/seed-926035fd/authz/store"
)

var (
	// ErrInvalidClient says that there is no app with this client_id or that
	// the client_secret is wrong. Which of the two is not told.
	ErrInvalidClient = errors.New("authz: invalid client_id or client_secret")

	// ErrInvalidToken says that a token is malformed, unknown, revoked or
	// expired, or that its app is gone. Which of these is not told.
	ErrInvalidToken = errors.New("authz: invalid token")

	// ErrNotFound says that there is no such record, or that it belongs to
	// somebody else.
	ErrNotFound = store.ErrNotFound
)

// ErrorCode says what is wrong with a field. The values are those that clients
// of GitHub's API know.
type ErrorCode string

// The codes of field errors.
const (
	CodeMissingField  ErrorCode = "missing_field"  // required and absent
	CodeInvalid       ErrorCode = "invalid"        // wrong type, form or length
	CodeAlreadyExists ErrorCode = "already_exists" // unique and taken
	CodeCustom        ErrorCode = "custom"         // see Message
)

// FieldError says what is wrong with one parameter.
type FieldError struct {
	Field   string    // as on the wire, such as "note_url"
	Code    ErrorCode //
	Message string    // for people; "" where the code says all

	// ExistingID is the authorization in the way, with CodeAlreadyExists where
	// it is one.
	ExistingID int64
}

// ValidationError says which parameters are wrong. It never holds their values,
// save for names of scopes.
type ValidationError struct {
	Fields []FieldError // at least one
}

func (e *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString("authz: validation failed")
	for i, f := range e.Fields {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		b.WriteString(f.Field)
		b.WriteString(" ")
		b.WriteString(string(f.Code))
		if f.Message != "" {
			b.WriteString(" (" + f.Message + ")")
		}
	}
	return b.String()
}

// ExistsError says that there is an authorization already and that the request
// asked for an error in this case ([OnExistingError]).
type ExistsError struct {
	ID int64 // of the existing authorization
}

func (e *ExistsError) Error() string { return "authz: the authorization exists already" }
