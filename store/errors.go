package store

import "errors"

var (
	// ErrNotFound says that there is no such record, or that it belongs to
	// somebody else. Test with errors.Is.
	ErrNotFound = errors.New("store: not found")

	// ErrConflict says that a record is in the way: another one has the same
	// unique value, or the stored one has another Revision. Test with
	// errors.Is.
	ErrConflict = errors.New("store: conflict")

	// ErrSchema says that the database cannot be used as it is: it was never
	// migrated, or by a newer version of this module. It does not go away by
	// itself. Test with errors.Is.
	ErrSchema = errors.New("store: unusable schema")
)

// ConflictError is an ErrConflict that names the field whose value is taken.
type ConflictError struct {
	// Field is the name of the field on the wire, such as "client_id",
	// "fingerprint", "note" or "idempotency_key".
	Field string
	// ID is the authorization in the way; 0 where it is an app, or where it is
	// gone by now.
	ID int64
}

// Error names the field, never its value.
func (e *ConflictError) Error() string { return "store: conflict: " + e.Field + " is taken" }

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
