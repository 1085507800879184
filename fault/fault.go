// Package fault holds the one error shape that crosses rooms, the wire and the
// keyboard: what happened, to what, and what to try next.
package fault

import (
	"errors"
	"fmt"
)

// Code says what kind of failure it was; it decides the exit status.
type Code string

const (
	Failed      Code = "failed"      // tried, and did not work
	Misused     Code = "misused"     // the request itself is wrong
	NotFound    Code = "not-found"   // nothing has that name, or nothing matched
	Unreachable Code = "unreachable" // nobody answered in time
	Partial     Code = "partial"     // some nodes failed
	Denied      Code = "denied"      // the caller's identity or role may not
	Conflict    Code = "conflict"    // it exists already, or changed meanwhile
	Full        Code = "full"        // no room left: disk, quota or limit
	Interrupted Code = "interrupted" // the person asked to stop
)

// Error is what a person sees: Text says what happened and to what, Try what to type next.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
	Try  string `json:"try,omitempty"`
	Err  error  `json:"-"`
}

// New makes an Error whose text is formatted as by fmt.Errorf, %w included.
func New(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Text: err.Error(), Err: errors.Unwrap(err)}
}

// Hint returns the error with the line that follows "try: ".
func (e *Error) Hint(format string, args ...any) *Error {
	e.Try = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Err }

// Of returns err as an *Error: its own outermost one, with the text of what wraps it, or a plain failure.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if inner, ok := errors.AsType[*Error](err); ok {
		return &Error{Code: inner.Code, Text: err.Error(), Try: inner.Try, Err: err}
	}
	return &Error{Code: Failed, Text: err.Error(), Err: err}
}

// Is reports whether err carries the code.
func Is(err error, code Code) bool { return err != nil && Of(err).Code == code }

// Exit is the process's exit status for err.
func Exit(err error) int {
	if err == nil {
		return 0
	}
	switch Of(err).Code {
	case Misused:
		return 2
	case NotFound:
		return 3
	case Unreachable:
		return 4
	case Partial:
		return 5
	case Interrupted:
		return 130
	}
	return 1
}
