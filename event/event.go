// Package event remembers what happened in the cluster and who asked for it: the
// record that `bramble events` prints and that an admin reads after a bad night.
package event

import "time"

// Kind of an event.
type Kind string

const (
	Change Kind = "change" // the cluster changed by itself: a node went down, a job ended
	Audit  Kind = "audit"  // somebody asked for something, and it was done or refused
)

// Event is one thing that happened.
type Event struct {
	Seq  int64     `json:"seq"` // grows by one
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`
	Room string    `json:"room"`
	Node string    `json:"node,omitempty"`
	Job  int64     `json:"job,omitempty"`
	User string    `json:"user,omitempty"`
	Text string    `json:"text"`          // one line for people
	Bad  bool      `json:"bad,omitempty"` // something to look at
}

// Filter chooses events; zero fields choose all.
type Filter struct {
	After  int64  `json:"after,omitempty"` // only those with a greater Seq
	Limit  int    `json:"limit,omitempty"` // at most the newest so many; 0: DefaultLimit
	Room   string `json:"room,omitempty"`
	Node   string `json:"node,omitempty"`
	User   string `json:"user,omitempty"`
	Follow bool   `json:"follow,omitempty"` // go on with new ones as they happen
}

// DefaultLimit is how many events are listed unless asked otherwise.
const DefaultLimit = 100

func (f Filter) fits(e Event) bool {
	return e.Seq > f.After && (f.Room == "" || f.Room == e.Room) &&
		(f.Node == "" || f.Node == e.Node) && (f.User == "" || f.User == e.User)
}
