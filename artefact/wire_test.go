package artefact

import (
	"crypto/sha256"
	"testing"

	"bramble/bus/bustest"
	"bramble/fault"
)

func TestMessagesOnTheWire(t *testing.T) {
	ref := RefOf([]byte("hi"))
	end := End{Files: 1, Bytes: 2, Moved: 3, Ref: ref, Code: fault.Full, Error: "e", Try: "t", Lost: true}
	bustest.Golden(t, "1", map[string]any{
		"push":       Push{On: "all", To: "dir/", As: "root", Many: true},
		"pull":       Pull{On: "all", Paths: []string{"*.log"}, As: "root"},
		"fetch-task": fetchTask{User: "ann", As: "root", Ref: ref, To: "dir/", Many: true},
		"fetch-from": fetchTask{User: "ann", Ref: ref, To: "dir/", Way: Way{From: []string{"10.0.0.2:7654", "10.0.0.1:7654"}}},
		"recipe":     Recipe{{Size: 3, Sum: sha256.Sum256([]byte("abc"))}, {Size: 70_000}}.encode(),
		"read-task":  readTask{User: "ann", As: "root", Paths: []string{"*.log"}},
		"moving":     Event{Kind: Moving, Node: "pi", Step: Fetching, Done: 1, Total: 2},
		"chosen":     Event{Kind: Chosen, Names: []string{"pi"}},
		"left-out":   Event{Kind: LeftOut, Node: "pi", Skipped: []Skipped{{Path: "a", Why: "a socket"}}},
		"ended":      Event{Kind: Ended, Node: "pi", End: &end},
		"manifest":   Manifest{Entries: []Entry{{Path: "a", Mode: 0o644, Size: 2, Ref: ref}, {Path: "l", Mode: 0o777, Link: "a"}}},
	})
}
