// Package keeper is the small process beside the agent that forks tasks, holds
// their output and exit statuses, and keeps both until they are acknowledged, so
// that the agent can be replaced under running work.
package keeper

import (
	"context"
	"time"

	"bramble/host"
)

// Keeper starts tasks and remembers them. What it said survives the keeper, and that a task ended
// survives a power cut; a task that was running then may be unknown afterwards, and one that was just
// forgotten be known again.
type Keeper interface {
	// Start forks the tasks. A task whose ID is known already is left alone, so a start may be repeated,
	// and is to be repeated after an error. A task that cannot be started has ended, with Status.Error.
	Start(ctx context.Context, tasks []Task) error
	// Signal sends a signal, such as "TERM", to a task's group; "KILL" ends its whole tree. An ended task ignores
	// it; one that has not begun is withdrawn.
	Signal(ctx context.Context, id, sig string) error
	// List tells every task that is running or not yet forgotten, without SmallOut and SmallErr.
	List(ctx context.Context) ([]Status, error)
	// Ended yields, in batches, each task that has ended and is not forgotten, then each one as it ends,
	// until ctx is done or the keeper is lost.
	Ended(ctx context.Context) (<-chan []Status, error)
	// Forget drops ended tasks and their output; running and unknown ones it leaves alone.
	Forget(ctx context.Context, ids []string) error
	// Output reads up to max bytes of a task's "stdout" or "stderr" from offset; a short read is not the end of a running task.
	Output(ctx context.Context, id, stream string, offset int64, max int) ([]byte, error)
}

// Task is one thing to run.
type Task struct {
	ID      string        `json:"id"` // [a-z0-9][a-z0-9.-]*, at most 128 bytes, unique for ever: "7.3.1" is job 7, index 3, attempt 1
	Args    []string      `json:"args"`
	Env     []string      `json:"env"`
	Dir     string        `json:"dir"`
	User    string        `json:"user,omitempty"`
	Umask   int           `json:"umask,omitempty"` // 0: the keeper's own
	Limits  host.Limits   `json:"limits"`
	Timeout time.Duration `json:"timeout,omitempty"` // SIGTERM after this long, SIGKILL Grace later; 0: none
	Grace   time.Duration `json:"grace,omitempty"`   // 0: DefaultGrace
	Cap     int64         `json:"cap,omitempty"`     // bytes kept of each output stream; 0: DefaultCap
	Stdio   string        `json:"stdio,omitempty"`   // folder with the named pipes of MakePipes, instead of no input and kept output
	TTY     *host.Size    `json:"tty,omitempty"`     // with Stdio: a terminal between the program and the pipes
	// Lanes makes the task wait, in the order the tasks came, until fewer than so many run: so that one begins
	// as soon as another ends, without a word to the agent between them. 0: it begins at once.
	Lanes int   `json:"lanes,omitempty"`
	Copy  *Copy `json:"copy,omitempty"` // files that its output goes to as well
}

// Copy is files that a task's output goes to as it comes, beside being kept, and whole whatever Cap is. They are opened with the
// rights of Task.User; a task that cannot have them is not started, and one whose output they could not take has an Error.
type Copy struct {
	Out    string `json:"out,omitempty"`    // a path from the root; "": none
	Err    string `json:"err,omitempty"`    // the same as Out: one file for both
	Below  string `json:"below,omitempty"`  // folder below which missing folders are made
	Append bool   `json:"append,omitempty"` // what they hold stays
}

const (
	// DefaultCap is how many bytes are kept of each of a task's output streams.
	DefaultCap = 16 << 20
	// DefaultGrace is how long a task has between SIGTERM and SIGKILL.
	DefaultGrace = 5 * time.Second
)

// Leader in front of a signal's name sends it to the command itself, not to what that has started.
const Leader = "leader:"

// Errors of a Status that are not the task's own doing; such a task may be run again.
const (
	Lost    = "the keeper was lost"    // it was killed, or the machine went down
	Stopped = "the keeper was stopped" // it was told to end and ended its tasks
	// Withdrawn tasks were taken back before they had begun.
	Withdrawn = "it was taken back before it had begun"
)

// Queue is a Keeper that heeds Task.Lanes.
type Queue interface {
	Keeper
	// Queues reports whether it does; a keeper process may be older than the agent.
	Queues() bool
	// Withdraw takes back those of the tasks that have not begun. They end with Status.Error Withdrawn.
	Withdraw(ctx context.Context, ids []string) error
}

// Limiter is a Keeper that takes another Timeout for tasks which it has.
type Limiter interface {
	Keeper
	// TakesLimits reports whether it does; a keeper process may be older than the agent.
	TakesLimits() bool
	// Limit lets the tasks run so long in all, counted from when each began; 0 is for ever. Those that have had their
	// time are ended at once. Ended, ending and unknown tasks are left alone.
	Limit(ctx context.Context, ids []string, timeout time.Duration) error
}

// Copies reports whether a keeper heeds Task.Copy; a keeper process may be older than the agent.
func Copies(k Keeper) bool {
	peer, remote := k.(interface{ Peer() int })
	return !remote || peer.Peer() >= 5
}

// Status is what the keeper knows of a task.
type Status struct {
	ID       string     `json:"id"`
	Pid      int        `json:"pid,omitempty"`
	Running  bool       `json:"running"`
	Waiting  bool       `json:"waiting,omitempty"` // of the running ones: it has not begun
	Started  time.Time  `json:"started"`
	Ended    time.Time  `json:"ended,omitzero"`
	Exit     *host.Exit `json:"exit,omitempty"`
	Error    string     `json:"error,omitempty"`     // why it could not be started, what its Copy lacks, or Lost or Stopped
	TimedOut bool       `json:"timed_out,omitempty"` // ended for its Timeout
	Stdout   int64      `json:"stdout"`              // bytes kept
	Stderr   int64      `json:"stderr"`
	Dropped  int64      `json:"dropped,omitempty"` // bytes beyond Cap, or that the disk had no room for
	// Small holds stdout and stderr of an ended task when together they are at most SmallOutput bytes.
	SmallOut []byte `json:"small_out,omitempty"`
	SmallErr []byte `json:"small_err,omitempty"`
}

// SmallOutput is the largest output that rides along with a Status.
const SmallOutput = 16 << 10
