// Package accesslog keeps lines about visitors on the nodes that answer them, gives them to who follows them as they come, and has
// the head bring those of many nodes together.
package accesslog

import (
	"bramble/fault"
	"bramble/http1"
)

// Request asks for the access log of a site or a front.
type Request struct {
	Name   string `json:"name"`
	On     string `json:"on,omitempty"` // which of its nodes; "": all
	Lines  int    `json:"lines"`        // of each node, the last ones
	Follow bool   `json:"follow,omitempty"`
}

// Check reports as fault.Misused what cannot be asked for.
func (r Request) Check() error {
	if r.Lines < 0 || r.Lines > MaxLines {
		return fault.New(fault.Misused, "%d lines cannot be asked for", r.Lines).Hint("-n 0 to -n %d", MaxLines)
	}
	return nil
}

// Visit is one request on one node.
type Visit struct {
	Node string `json:"node"`
	http1.Visit
}

// Lines are whole lines of a node's log, or why there are none.
type Lines struct {
	Node  string       `json:"node"`
	Text  []byte       `json:"text,omitempty"`
	Left  int          `json:"left,omitempty"` // lines that were left out, since they came faster than they were taken
	Fault *fault.Error `json:"fault,omitempty"`
}

const (
	// MaxLines is how many of a node's last lines may be asked for.
	MaxLines = 100_000
	// MaxFollowers is how many follow one log on one node.
	MaxFollowers = 16
	// MaxPiece is how many bytes one message has, and a line.
	MaxPiece = 32 << 10
	// leftOut is what a node sends in the place of lines that a reader did not take; a line begins with an address, or a brace.
	leftOut = "# %d lines left out\n"
)
