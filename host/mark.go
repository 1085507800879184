package host

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// markName is the environment variable that tells whose a process is, where no control
// group does: ID@SCOPE.OWNER.
const markName = "BRAMBLE_TASK"

// scopeOf names a state folder, so that two clusters on one machine never touch each other's tasks.
func scopeOf(stateDir string) string {
	h := fnv.New32a()
	h.Write([]byte(stateDir))
	return fmt.Sprintf("%08x", h.Sum32())
}

func markFor(id, scope, owner string) string { return id + "@" + scope + "." + owner }

// parseMark undoes markFor.
func parseMark(mark string) (id, scope, owner string, ok bool) {
	id, rest, ok1 := strings.Cut(mark, "@")
	scope, owner, ok2 := strings.Cut(rest, ".")
	return id, scope, owner, ok1 && ok2
}

// withMark is env with our mark in place of one that was inherited.
func withMark(env []string, mark string) []string {
	marked := make([]string, 0, len(env)+1)
	for _, v := range env {
		if !strings.HasPrefix(v, markName+"=") {
			marked = append(marked, v)
		}
	}
	return append(marked, markName+"="+mark)
}

// validID reports whether id may name a folder: [a-z0-9.-], not beginning with a dot.
func validID(id string) bool {
	if id == "" || id[0] == '.' || len(id) > 128 {
		return false
	}
	return strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}
