// Package fan runs a command on many nodes at once and brings what it says back,
// line by line under each node's name; and opens a terminal on one node.
package fan

import (
	"time"

	"bramble/host"
)

// Request is a command for the nodes of a selection.
type Request struct {
	On      string        `json:"on"`
	Args    []string      `json:"args"`              // one argument is a line for sh, several are a command as it is
	Env     []string      `json:"env,omitempty"`     // added to the account's own
	Fanout  int           `json:"fanout,omitempty"`  // nodes at the same time; 0: all
	Timeout time.Duration `json:"timeout,omitempty"` // SIGTERM after so long, SIGKILL Grace later; 0: none
	Stdin   bool          `json:"stdin,omitempty"`   // what the caller sends goes to every node's standard input
	As      string        `json:"as,omitempty"`      // "root", for admins
}

// Grace is what a command has to end by itself after SIGTERM.
const Grace = 3 * time.Second

// MaxArgs is the most bytes of a command with its environment.
const MaxArgs = 256 << 10

// Kind of an Event.
type Kind byte

const (
	Nodes  Kind = 'n' // first: which nodes it is run on
	Stdout Kind = 'o'
	Stderr Kind = 'e'
	Ended  Kind = 'x' // last of a node: how the command ended there

	Together Kind = 't' // from a node only: several of these in one message
)

// Event is one thing that a run reports.
type Event struct {
	Kind  Kind
	Node  string
	Names []string // Nodes only
	Data  []byte   // Stdout and Stderr: bytes as they came, cut anywhere
	End   End      // Ended only
}

// End is how a command ended on a node.
type End struct {
	Exit    host.Exit `json:"exit"`
	Error   string    `json:"error,omitempty"`   // why it did not run, or was not seen to end
	Try     string    `json:"try,omitempty"`     // what to type then
	Lost    bool      `json:"lost,omitempty"`    // the node did not answer, or went away
	Timeout bool      `json:"timeout,omitempty"` // ended for its Timeout
}

// OK reports whether the command ran and succeeded.
func (e End) OK() bool { return e.Error == "" && e.Exit.OK() }

// ShellRequest is a terminal on one node.
type ShellRequest struct {
	Node string    `json:"node"`
	Args []string  `json:"args,omitempty"` // the account's login shell without
	Term string    `json:"term"`           // TERM
	Size host.Size `json:"size"`
	As   string    `json:"as,omitempty"`
}

// task is what the head asks of a node.
type task struct {
	User    string        `json:"user"` // who asked
	As      string        `json:"as,omitempty"`
	Args    []string      `json:"args,omitempty"`
	Env     []string      `json:"env,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
	Stdin   bool          `json:"stdin,omitempty"`
	TTY     *host.Size    `json:"tty,omitempty"`

	Together bool `json:"together,omitempty"` // the head reads reports that come together
}
