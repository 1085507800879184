package job

import "time"

// Event is something that happened; Step says what follows from it.
type Event interface{ event() }

// Events.
type (
	// HeadStarted comes first, after the journal was read. Tasks of earlier epochs wait
	// until every node named in Expect has told what it holds, at most 15 s; when Expect is nil, that long.
	HeadStarted struct{ Expect []string }

	// Submitted brings a job that Spec.Validate, Partition.Admit and Fits have passed, and the nodes that its Selection means.
	// One whose Token is known already is accepted under the number that it has.
	Submitted struct {
		Spec  Spec
		Nodes []string
	}
	// Cancel ends a job, or with an Index one of its tasks. Cancelling what is unknown or has ended changes nothing.
	Cancel struct {
		ID    ID
		Index *int
		By    string
	}
	// Eligible says which nodes a selection matches now; the caller sends it for each of
	// State.Selections when the head has started, and when nodes or labels change.
	Eligible struct {
		Selection
		Nodes []string
	}
	// Offered says how much of a generic resource each node has; the caller sends it for each of
	// State.GresInUse when the head has started, when a job brings a new one, and when labels change.
	Offered struct {
		Gres  string
		Nodes map[string]int
	}
	// Partitions says which there are, before HeadStarted and at each change.
	Partitions struct{ List []Partition }
	// Hold keeps what has not started of a job from starting, or, when not On, lets it.
	Hold struct {
		ID ID
		By string
		On bool
	}
	// Requeue takes what runs of a job, or of one of its tasks, from its nodes; it waits again and starts anew.
	Requeue struct {
		ID    ID
		Index *int
	}
	// Alter changes what was asked for.
	Alter struct {
		ID  ID
		Set Alteration
	}

	// NodeUp says that a node is connected and what it holds, which is the truth about it:
	// an attempt that it should hold and does not is placed anew at once. It may be sent
	// again at any time, above all when the delivery of a Start is in doubt.
	NodeUp struct {
		Name    string
		Cores   int
		Memory  int64 // bytes
		Held    []Held
		Results []Result // that the head has not acknowledged yet
	}
	NodeSuspect struct{ Name string } // silent: no new work until it is NodeUp again
	NodeDown    struct{ Name string } // its work moves after each job's patience
	NodeGone    struct{ Name string } // removed from the cluster: its work moves at once
	Drained     struct{ Name string } // no new work; what waits on it moves, what runs goes on
	Undrained   struct{ Name string }

	// Started says which attempts run. It is owed only for an attempt that a Recall came too late for.
	Started struct {
		Node string
		Keys []Key
	}
	// Ended brings results. Each is acknowledged, whether it counts or not.
	Ended struct {
		Node    string
		Results []Result
	}
	// Rejected says which attempts a node has not started and will never start: recalled, killed
	// while they waited, or refused. After a refusal that was not asked for it gets no work for a while.
	Rejected struct {
		Node   string
		Keys   []Key
		Reason string
	}

	// Tick lets time pass; it is due at each WakeAt and harmless at any other time.
	Tick struct{}
)

// Held is an attempt that a node runs, or that waits there.
type Held struct {
	Attempt
	Waiting bool `json:"waiting,omitempty"`
}

func (HeadStarted) event() {}
func (Submitted) event()   {}
func (Cancel) event()      {}
func (Eligible) event()    {}
func (Offered) event()     {}
func (Partitions) event()  {}
func (Hold) event()        {}
func (Requeue) event()     {}
func (Alter) event()       {}
func (NodeUp) event()      {}
func (NodeSuspect) event() {}
func (NodeDown) event()    {}
func (NodeGone) event()    {}
func (Drained) event()     {}
func (Undrained) event()   {}
func (Started) event()     {}
func (Ended) event()       {}
func (Rejected) event()    {}
func (Tick) event()        {}

// Action is something to do. One with a field After waits until the record of that
// number is on disk; when it is there already, it does not wait. Actions that become
// ready together are done in the order they were asked for.
type Action interface{ action() }

// Actions.
type (
	// Record is to be appended to the journal; records are numbered without gaps.
	Record struct {
		Seq  uint64
		Data []byte
	}
	// Accepted answers Submitted: the job has this number.
	Accepted struct {
		ID    ID
		After uint64
	}
	// Final brings the results which ended their tasks for good. Their output is to be stored
	// before the Step's Record is on disk, since no other result of these tasks will count.
	Final struct{ Results []Result }
	// Forget tells a node that its results are safe.
	Forget struct {
		Node  string
		Keys  []Key
		After uint64
	}
	// Start hands attempts to a node, which starts them as Slots says.
	Start struct {
		Node     string
		Attempts []Attempt
		After    uint64
	}
	// Kill ends attempts on a node, which answers with Ended, or Rejected when they had not started
	// or are not there.
	Kill struct {
		Node  string
		Keys  []Key
		Why   string
		After uint64
	}
	// Recall asks for attempts that wait on a node; it answers Rejected for those
	// that it gives back or does not have, and Started for those that run meanwhile.
	Recall struct {
		Node  string
		Keys  []Key
		After uint64
	}
	// Limit tells a node the time limit of a job of which it has attempts, counted from when each began; 0 is none.
	Limit struct {
		Node    string
		ID      ID
		Timeout time.Duration
		After   uint64
	}
	// Moved says, for people, that attempts were taken from a node and their tasks wait again.
	Moved struct {
		Node string
		Keys []Key
		Why  string
	}
	// JobEnded says that a job's last task is final.
	JobEnded struct {
		ID    ID
		After uint64
	}
	// JobForgotten says that an ended job is remembered no longer.
	JobForgotten struct{ ID ID }
	// WakeAt asks for a Tick at this time; it replaces the one before.
	WakeAt struct{ At time.Time }
)

func (Record) action()       {}
func (Accepted) action()     {}
func (Final) action()        {}
func (Forget) action()       {}
func (Start) action()        {}
func (Kill) action()         {}
func (Recall) action()       {}
func (Limit) action()        {}
func (Moved) action()        {}
func (JobEnded) action()     {}
func (JobForgotten) action() {}
func (WakeAt) action()       {}
