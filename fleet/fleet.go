// Package fleet knows who is here, what they are and who is alive, and turns the
// one selection language, --on, into nodes.
package fleet

import (
	"time"

	"bramble/host"
)

// State is how the head sees a node.
type State string

const (
	Up      State = "up"      // connected and heard of lately
	Suspect State = "suspect" // connection closed, or silent for SuspectAfter
	Down    State = "down"    // away: no new work, and its work moves after the job's patience
	Gone    State = "gone"    // no member any more: the last that is said of a node
)

// Liveness, as DESIGN has it: a closed connection is suspect at once and down after
// ReconnectGrace; silence is suspect after SuspectAfter and down after DownAfter. When the
// head has just started, no node is down before HeadGrace.
const (
	BeatEvery      = time.Second
	ReconnectGrace = 2 * time.Second
	SuspectAfter   = 3 * time.Second
	DownAfter      = 10 * time.Second
	HeadGrace      = 15 * time.Second
)

// Node roles.
const (
	RoleHead   = "head"   // carries the bus
	RoleWorker = "worker" // takes jobs
)

// Node is one member, as `bramble nodes --json` prints it.
type Node struct {
	Name    string            `json:"name"`
	State   State             `json:"state"`
	Drained string            `json:"drained,omitempty"` // why it takes no new work
	Roles   []string          `json:"roles"`
	Labels  map[string]string `json:"labels"` // a bare label has the value ""
	Model   string            `json:"model"`
	Board   string            `json:"board"`
	Arch    string            `json:"arch"`
	OS      string            `json:"os"`
	Kernel  string            `json:"kernel"`
	Cores   int               `json:"cores"`
	Memory  int64             `json:"memory"` // bytes
	Address string            `json:"address"`
	Peer    string            `json:"peer,omitempty"` // where its agent answers other nodes', HOST:PORT; "": it does not
	Version string            `json:"version"`
	Joined  time.Time         `json:"joined"`
	Seen    time.Time         `json:"seen"` // last sign of life, head's clock
	Facts   host.Facts        `json:"facts"`
	Sample  host.Sample       `json:"sample"`
}

// Standing is how the head sees a node.
type Standing struct {
	Name  string
	State State
}
