package fleet

import (
	"maps"
	"strings"

	"bramble/fault"
)

// maxLabel is the most bytes of a label's key and of its value.
const maxLabel = 63

// maxLabels is the most labels of one node.
const maxLabels = 64

// reserved reports whether a word means something else in a selection, so that no label may be called so.
func reserved(word string) bool {
	switch word {
	case "all", "model", "arch", "role", "state", "name":
		return true
	}
	return false
}

// ValidLabel is fault.Misused unless nodes can have the label: the key takes a-z, 0-9, dot,
// underscore and dash, begins with a letter, does not end with a dash and is no word that
// selections reserve; the value takes letters of both cases and the same, or is empty. Each has at most 63 bytes.
func ValidLabel(key, value string) error {
	switch {
	case key == "" || len(key) > maxLabel || len(value) > maxLabel:
		return badLabel("a label's key has 1 to %d bytes and its value at most %[1]d, not %d and %d", maxLabel, len(key), len(value))
	case !isLower(key[0]) || !only(key, isKey) || key[len(key)-1] == '-':
		return badLabel("%q cannot be a label: it begins with a letter, goes on with a-z, 0-9, dot, underscore or dash, and ends with no dash", key)
	case reserved(key):
		return badLabel("%s cannot be a label: --on means something else by it", key)
	case !only(value, isWord):
		return badLabel("%q cannot be a label's value: it takes letters, digits, dot, underscore and dash", value)
	}
	return nil
}

func badLabel(format string, args ...any) error {
	return fault.New(fault.Misused, format, args...).Hint("a label such as camera or rack=2")
}

// LabelChange is one label set or taken off.
type LabelChange struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Remove bool   `json:"remove,omitempty"`
}

// ParseLabel reads camera=1, camera (set, with no value) or camera- (taken off, as kubectl has it).
func ParseLabel(text string) (LabelChange, error) {
	var l LabelChange
	var valued bool
	l.Key, l.Value, valued = strings.Cut(text, "=")
	if !valued {
		l.Key, l.Remove = strings.CutSuffix(l.Key, "-")
	}
	if err := ValidLabel(l.Key, l.Value); err != nil {
		return LabelChange{}, err
	}
	return l, nil
}

// relabel returns the labels after the changes.
func relabel(labels map[string]string, changes []LabelChange) map[string]string {
	after := maps.Clone(labels)
	if after == nil {
		after = map[string]string{}
	}
	for _, l := range changes {
		if l.Remove {
			delete(after, l.Key)
		} else {
			after[l.Key] = l.Value
		}
	}
	return after
}

// changesText writes changes as ParseLabel reads them.
func changesText(changes []LabelChange) string {
	words := make([]string, len(changes))
	for i, l := range changes {
		switch {
		case l.Remove:
			words[i] = l.Key + "-"
		case l.Value == "":
			words[i] = l.Key
		default:
			words[i] = l.Key + "=" + l.Value
		}
	}
	return strings.Join(words, " ")
}

func isKey(c byte) bool { return isWord(c) && !('A' <= c && c <= 'Z') }

// only reports whether s has wanted bytes only.
func only(s string, wanted func(byte) bool) bool {
	for i := range len(s) {
		if !wanted(s[i]) {
			return false
		}
	}
	return true
}
