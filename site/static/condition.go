package static

import (
	"bytes"
)

// tag is a form's entity tag, strong: half of the hash of its bytes, in quotes. It points into space.
func (f *form) tag(space []byte) []byte {
	return append(append(append(space, '"'), f.Ref[:32]...), '"')
}

// verdict is what a request's conditions lead to.
type verdict int

const (
	goOn verdict = iota
	notModified
	failed
)

// judge weighs the conditions in the order of RFC 9110, 13.2.2. A time must be exactly ours, as with nginx: after
// a rollback an older file is newer to the client.
func (w *wish) judge(tag []byte, modified string) verdict {
	switch {
	case w.match != nil:
		if !listed(w.match, tag, false) {
			return failed
		}
	case w.unmodifiedSince != nil && isDate(w.unmodifiedSince):
		if string(w.unmodifiedSince) != modified {
			return failed
		}
	}
	switch {
	case w.noneMatch != nil:
		if listed(w.noneMatch, tag, true) {
			return notModified
		}
	case modified != "" && string(w.modifiedSince) == modified:
		return notModified
	}
	return goOn
}

// isDate reports whether a value has the one form of dates that is still made; others are ignored.
func isDate(v []byte) bool { return len(v) == len("Mon, 02 Jan 2006 15:04:05 GMT") && v[3] == ',' }

// listed reports whether a list of entity tags has tag, or is *. Weak is that W/ does not matter.
func listed(list, tag []byte, weak bool) bool {
	list = trim(list)
	if len(list) == 1 && list[0] == '*' {
		return true
	}
	for len(list) > 0 {
		if list[0] == ' ' || list[0] == '\t' || list[0] == ',' {
			list = list[1:]
			continue
		}
		one, isWeak := bytes.CutPrefix(list, []byte("W/"))
		if len(one) == 0 || one[0] != '"' {
			return false
		}
		end := bytes.IndexByte(one[1:], '"')
		if end < 0 {
			return false
		}
		if bytes.Equal(one[:end+2], tag) && (weak || !isWeak) {
			return true
		}
		list = one[end+2:]
	}
	return false
}

// rangeHolds reports whether If-Range allows a part: RFC 9110, 13.1.5.
func (w *wish) rangeHolds(tag []byte, modified string) bool {
	return w.ifRange == nil || bytes.Equal(w.ifRange, tag) || modified != "" && string(w.ifRange) == modified
}
