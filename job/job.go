// Package job queues work and places it on nodes. State lives in the head's memory,
// decisions are one pure function in plan.go, and what is accepted is on disk first.
package job

import (
	"time"

	"bramble/host"
)

// ID numbers jobs from 1 and is never reused.
type ID int64

// Spec is what a person submits.
type Spec struct {
	Name     string        `json:"name,omitempty"`
	User     string        `json:"user"`              // who submitted, set by the head from the caller
	Account  string        `json:"account,omitempty"` // "root" for an admin who said --as root
	Args     []string      `json:"args,omitempty"`    // the command; empty when Script is set
	Script   []byte        `json:"script,omitempty"`  // a script file's bytes, run by its #! line
	Env      []string      `json:"env,omitempty"`
	On       string        `json:"on,omitempty"`      // fleet selection; "" is every worker
	Array    string        `json:"array,omitempty"`   // as typed: A-B[:S][%K],…; "" is a single task with index 0
	CPUs     int           `json:"cpus"`              // slots per task; a node has one per core
	Memory   int64         `json:"memory,omitempty"`  // bytes per task; 0: no limit, none reserved
	Timeout  time.Duration `json:"timeout,omitempty"` // per attempt
	Patience time.Duration `json:"patience"`          // how long a down node's tasks wait for it before they move
	Retries  int           `json:"retries,omitempty"` // attempts beyond the first after a task failed by itself
	Inputs   string        `json:"inputs,omitempty"`  // artefact manifest ref that becomes the task's folder
	Return   []string      `json:"return,omitempty"`  // globs of files that come back
}

// TaskState is where one array element stands.
type TaskState string

const (
	Pending   TaskState = "pending"
	Running   TaskState = "running"
	Done      TaskState = "done"      // exit status 0
	Failed    TaskState = "failed"    // another status, a signal, a time-out, or it could not be started
	Cancelled TaskState = "cancelled" // a person ended it
)

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
	Stdout  []byte    `json:"stdout,omitempty"`  // small output rides along; larger is fetched before the result is acknowledged
	Stderr  []byte    `json:"stderr,omitempty"`
	OutSize int64     `json:"out_size,omitempty"`
	ErrSize int64     `json:"err_size,omitempty"`
}
