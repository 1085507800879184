// Package job queues work and places it on nodes. State lives in the head's memory,
// decisions are one pure function in plan.go, and what is accepted is on disk first.
package job

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bramble/host"
)

// ID numbers jobs from 1 and is never reused.
type ID int64

// DefaultPatience is how long a down node's tasks wait for it when nobody said otherwise.
const DefaultPatience = time.Minute

// TaskState is where one array element, or a whole job, stands.
type TaskState string

const (
	Pending   TaskState = "pending"   // not started; it may have been handed to a node ahead of time
	Running   TaskState = "running"   // of a job: at least one task has started
	Done      TaskState = "done"      // exit status 0
	Failed    TaskState = "failed"    // another status, a signal, a time-out, or it could not be started
	Cancelled TaskState = "cancelled" // a person ended it
)

// Key names one attempt of one task.
type Key struct {
	Job     ID  `json:"job"`
	Index   int `json:"index"`
	Attempt int `json:"attempt"` // from 1; a later attempt of a task has a higher number, not always the next one
}

// String is the attempt's name on its node: "7.3.1" is job 7, index 3, attempt 1.
func (k Key) String() string {
	b := append(strconv.AppendInt(make([]byte, 0, 32), int64(k.Job), 10), '.')
	b = append(strconv.AppendInt(b, int64(k.Index), 10), '.')
	return string(strconv.AppendInt(b, int64(k.Attempt), 10))
}

// ParseKey reads what Key.String wrote.
func ParseKey(text string) (Key, error) {
	job, rest, _ := strings.Cut(text, ".")
	index, attempt, _ := strings.Cut(rest, ".")
	id, e1 := strconv.ParseInt(job, 10, 64)
	k := Key{Job: ID(id)}
	var e2, e3 error
	k.Index, e2 = strconv.Atoi(index)
	k.Attempt, e3 = strconv.Atoi(attempt)
	if e1 != nil || e2 != nil || e3 != nil || k.Job < 1 || k.Index < 0 || k.Attempt < 1 || k.String() != text {
		return Key{}, fmt.Errorf("%q does not name an attempt (JOB.INDEX.ATTEMPT)", text)
	}
	return k, nil
}

// Attempt is one attempt and what it takes of its node.
type Attempt struct {
	Key
	CPUs   int             `json:"cpus"`             // all of the node's for an exclusive one
	Memory int64           `json:"memory,omitempty"` // bytes
	Gres   map[string]Gres `json:"gres,omitempty"`   // generic resources
	Member bool            `json:"member,omitempty"` // of an allocation that another node leads: reserved here, and steps run in it
	Shares []Share         `json:"shares,omitempty"` // of a leading one that has several nodes or ranks: all of them, the leader first
}

// Gres is how much of a generic resource an attempt takes.
type Gres struct {
	Take int `json:"take"`
	Of   int `json:"of"` // how much its node has
}

// Share is what an allocation has on one node.
type Share struct {
	Node   string `json:"node"`
	Ranks  int    `json:"ranks"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory,omitempty"` // bytes
}

// Result is how an attempt ended on its node.
type Result struct {
	Job     ID        `json:"job"`
	Index   int       `json:"index"`
	Attempt int       `json:"attempt"`
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	Exit    host.Exit `json:"exit"`
	Error   string    `json:"error,omitempty"`
	Timeout bool      `json:"timeout,omitempty"`
	Returns string    `json:"returns,omitempty"` // artefact manifest ref of what came back
	Others  []Return  `json:"others,omitempty"`  // what came back from other nodes of its allocation
	Stdout  []byte    `json:"stdout,omitempty"`  // small output rides along; larger is fetched before the result is acknowledged
	Stderr  []byte    `json:"stderr,omitempty"`
	OutSize int64     `json:"out_size,omitempty"`
	ErrSize int64     `json:"err_size,omitempty"`
	Dropped int64     `json:"dropped,omitempty"` // bytes of output beyond what is kept
}

// Key names the attempt that ended.
func (r *Result) Key() Key { return Key{Job: r.Job, Index: r.Index, Attempt: r.Attempt} }

// OK reports whether the task did what it was asked: started, was not stopped, and exited with status 0.
func (r *Result) OK() bool { return r.Error == "" && !r.Timeout && r.Exit.OK() }

// Failure is how a task failed for good.
type Failure struct {
	Index   int       `json:"index"`
	Attempt int       `json:"attempt"` // the last one
	Node    string    `json:"node"`
	Code    int       `json:"code"` // exit status; -1 when a signal ended it
	Signal  string    `json:"signal,omitempty"`
	OOM     bool      `json:"oom,omitempty"`
	Timeout bool      `json:"timeout,omitempty"`
	Error   string    `json:"error,omitempty"`
	Ended   time.Time `json:"ended"`
}

// Usage sums what a job's final attempts used.
type Usage struct {
	Wall   time.Duration `json:"wall"`    // of all tasks together, nanoseconds
	User   time.Duration `json:"user"`    // CPU time in user mode
	System time.Duration `json:"system"`  // CPU time in the kernel
	MaxRSS int64         `json:"max_rss"` // bytes, of the largest task
	First  time.Time     `json:"first"`   // when the first of them started
	Last   time.Time     `json:"last"`    // when the last of them ended
}

// add counts other in.
func (u *Usage) add(other Usage) {
	u.Wall += other.Wall
	u.User += other.User
	u.System += other.System
	u.MaxRSS = max(u.MaxRSS, other.MaxRSS)
	if u.First.IsZero() || !other.First.IsZero() && other.First.Before(u.First) {
		u.First = other.First
	}
	if other.Last.After(u.Last) {
		u.Last = other.Last
	}
}
