package artefact

import (
	"context"

	"bramble/fault"
)

// Push asks that files be laid out on the nodes of a selection.
type Push struct {
	On       string   `json:"on"`
	To       string   `json:"to"`                 // as cp has its destination; relative to the account's home
	As       string   `json:"as,omitempty"`       // "root", for admins
	Sources  []string `json:"-"`                  // files and folders here, as Scan takes them
	Courtesy bool     `json:"courtesy,omitempty"` // nodes give it on as far as visitors of their sites leave room
	Limit    int64    `json:"limit,omitempty"`    // bytes a second that no link shall carry more of, at least MinLimit; 0: no limit

	Many bool `json:"many"` // To is a folder whatever it looks like; Copier.Push sets it
}

// Pull asks that files of the nodes of a selection be brought here, each node's into a folder of its name.
type Pull struct {
	On    string   `json:"on"`
	Paths []string `json:"paths"` // with the wildcards of path/filepath; relative to the account's home
	As    string   `json:"as,omitempty"`
	Dir   string   `json:"-"` // the folder here that gets the nodes' folders
	Cache string   `json:"-"` // a folder for what is on its way, from which the next Pull goes on; "": a passing one
}

// Kind of an Event.
type Kind string

const (
	Uploading Kind = "upload"   // Done of Total bytes of a Push have left this machine
	Chosen    Kind = "nodes"    // Names are nodes of the selection; more may follow
	Moving    Kind = "progress" // a node is at Step: Done of Total bytes
	LeftOut   Kind = "skipped"  // Skipped are things that cannot be copied, on Node or, without one, here
	Ended     Kind = "ended"    // last of a node: how it went there
)

// Steps of a node's work.
const (
	Fetching  = "fetch"   // blobs come to the node
	Placing   = "write"   // they are laid out there
	Reading   = "read"    // the node looks through its files
	Sending   = "upload"  // it gives what others lack
	Receiving = "receive" // they come to this machine
)

// Event is one thing that a Push or a Pull reports.
type Event struct {
	Kind    Kind      `json:"kind"`
	Node    string    `json:"node,omitempty"`
	Names   []string  `json:"names,omitempty"`
	Step    string    `json:"step,omitempty"`
	Done    int64     `json:"done,omitempty"`
	Total   int64     `json:"total,omitempty"`
	Skipped []Skipped `json:"skipped,omitempty"`
	End     *End      `json:"end,omitempty"` // Ended only
}

// End is how a copy ended for a node.
type End struct {
	Files int        `json:"files"`           // files and links that are in their places
	Bytes int64      `json:"bytes"`           // their bytes
	Moved int64      `json:"moved"`           // bytes that had to go over the node's network
	Ref   Ref        `json:"ref,omitempty"`   // Pull: the tree that the node gave
	Code  fault.Code `json:"code,omitempty"`  // "" when all went well
	Error string     `json:"error,omitempty"` // what did not
	Try   string     `json:"try,omitempty"`   // what to type then
	Lost  bool       `json:"lost,omitempty"`  // the node did not answer, or went away
}

// OK reports whether all went well.
func (e End) OK() bool { return e.Code == "" }

// fetchTask is what the head asks of a node in a Push, readTask in a Pull.
type fetchTask struct {
	User string `json:"user"` // who asked
	As   string `json:"as,omitempty"`
	Ref  Ref    `json:"ref"`
	To   string `json:"to"`
	Many bool   `json:"many,omitempty"`
	Way
	Limit int64 `json:"limit,omitempty"` // bytes a second that it may take; 0: no limit
}

// Way is where files come from, and how.
type Way struct {
	// From is where agents of nodes give files to others, HOST:PORT, that have or receive them before this one: the nearest
	// first, and the head last of all.
	From     []string `json:"from,omitempty"`
	Courtesy bool     `json:"courtesy,omitempty"` // who gives yields to visitors

	Turns <-chan []string `json:"-"` // other From for what has not come yet; see Turns

	// Lacking says which of these blobs have to come; nil: those that the store does not have.
	Lacking func(context.Context, []Blob) []Blob `json:"-"`
}

// reroute is what the head sends to a node at work: From is as in its fetchTask, for what has not come yet.
type reroute struct {
	From []string `json:"from"`
}

// MinLimit is the least that a link may be limited to, in bytes a second: 100 kbit/s.
const MinLimit = 12_500

type readTask struct {
	User  string   `json:"user"`
	As    string   `json:"as,omitempty"`
	Paths []string `json:"paths"`
}
