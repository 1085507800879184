package job

import (
	"time"

	"bramble/fault"
)

// What goes over the bus. Fields are only ever added.

// stamp is a message's place among those of one start of the head to one node. A node disregards what
// comes later than something newer: it was given up, and what it asked for has been arranged otherwise.
type stamp struct {
	Head string `json:"head"` // names the start
	No   uint64 `json:"no"`
	// Compact is the newest compact form that the head reads; see compactForm.
	Compact int `json:"compact,omitempty"`
}

// errand is what the head has for a node: everything since the last one, in this order.
type errand struct {
	Stamp  stamp       `json:"stamp"`
	Specs  map[ID]Spec `json:"specs,omitempty"` // of jobs that the node has not met since it connected
	Orders []order     `json:"orders,omitempty"`
	Forget []Key       `json:"forget,omitempty"` // results that are safe
}

// order is one of the orders of an errand: exactly one field is set.
type order struct {
	Start  []Attempt `json:"start,omitempty"`
	Kill   []Key     `json:"kill,omitempty"`
	Recall []Key     `json:"recall,omitempty"`
}

// report is what a node has for the head.
type report struct {
	Results  []Result `json:"results,omitempty"`
	Started  []Key    `json:"started,omitempty"`
	Rejected []Key    `json:"rejected,omitempty"`
	Reason   string   `json:"reason,omitempty"` // of Rejected
}

// census is what a node holds; the head asks for it when the node says hello, and after doubt.
type census struct {
	Cores  int       `json:"cores"`
	Memory int64     `json:"memory"` // bytes
	Held   []Held    `json:"held"`
	Ended  []Attempt `json:"ended"` // whose results the head has not said are safe; a report brings them
	// Compact is the newest compact form that the node reads; see compactForm.
	Compact int `json:"compact,omitempty"`
	// Limits says that the node gives what runs another time limit when it is told.
	Limits bool `json:"limits,omitempty"`
}

// limitsNews tells a node the time limits of jobs of which it has attempts.
type limitsNews struct {
	Stamp  stamp                `json:"stamp"`
	Limits map[ID]time.Duration `json:"limits"`
}

// outputRequest asks a node for an attempt's output.
type outputRequest struct {
	Key    Key    `json:"key"`
	Stream string `json:"stream"` // stdout or stderr
	Offset int64  `json:"offset"`
	Follow bool   `json:"follow"` // until the attempt has ended
}

// Submission is what a client sends.
type Submission struct {
	Spec Spec `json:"spec"`
}

// receipt answers a Submission: the job is on disk.
type receipt struct {
	ID ID `json:"id"`
}

type idRequest struct {
	ID ID `json:"id"`
}

type cancelRequest struct {
	ID    ID   `json:"id"`
	Index *int `json:"index,omitempty"` // of the task; none: the whole job
}

type holdRequest struct {
	ID ID   `json:"id"`
	On bool `json:"on"`
}

type requeueRequest struct {
	ID    ID   `json:"id"`
	Index *int `json:"index,omitempty"` // of the task; none: all that run
}

type alterRequest struct {
	ID  ID         `json:"id"`
	Set Alteration `json:"set"`
}

// ListRequest chooses jobs.
type ListRequest struct {
	Open  bool      `json:"open,omitempty"`  // only those that have not ended
	Ended bool      `json:"ended,omitempty"` // only those that have
	User  string    `json:"user,omitempty"`  // only this one's
	Name  string    `json:"name,omitempty"`  // only those of this name
	Since time.Time `json:"since,omitzero"`  // only those that were open then or later
	Limit int       `json:"limit,omitempty"` // at most the newest so many; 0: all that are remembered
}

// wants reports whether a job is among those asked for.
func (r *ListRequest) wants(j *job) bool {
	return !(r.Open && !j.ended.IsZero() || r.Ended && j.ended.IsZero() ||
		r.User != "" && r.User != j.spec.User || r.Name != "" && r.Name != j.spec.Name ||
		!j.ended.IsZero() && j.ended.Before(r.Since))
}

// Detail is everything about one job.
type Detail struct {
	Summary
	Failures   []Failure         `json:"failures,omitempty"`
	Placements []Placement       `json:"placements,omitempty"` // at most MaxPlacements
	Indices    map[string]string `json:"indices"`              // per state the tasks in it, as "1-40,44"
	Why        Reason            `json:"why,omitzero"`         // what it waits for, looked at more closely than Reason
}

// MaxPlacements is how many placements a Detail tells.
const MaxPlacements = 256

// LogRequest asks for output.
type LogRequest struct {
	ID     ID   `json:"id"`
	Index  int  `json:"index"`
	All    bool `json:"all,omitempty"`    // of all tasks, Index notwithstanding
	Follow bool `json:"follow,omitempty"` // go on until the job has ended
}

// Line is a piece of a task's output, cut anywhere.
type Line struct {
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
	Stderr  bool   `json:"stderr,omitempty"`
	Node    string `json:"node,omitempty"`
	Note    bool   `json:"note,omitempty"` // Data is a remark of bramble's about the output
	Data    []byte `json:"data"`
}

// Returned is what came back of one task.
type Returned struct {
	Index int    `json:"index"`
	Node  string `json:"node,omitempty"`
	Ref   string `json:"ref"` // artefact manifest
}

func unknownJob(id ID, last ID) error {
	err := fault.New(fault.NotFound, "there is no job %d", id).Hint("bramble queue --all")
	if id > 0 && id <= last {
		return fault.New(fault.NotFound, "job %d is forgotten: only the newest %d ended jobs are kept", id, keptEnded).Hint("bramble queue --all")
	}
	return err
}

func noTask(id ID, index int, array string) error {
	if array == "" {
		return fault.New(fault.NotFound, "job %d is a single task, with index 0", id).Hint("bramble logs %d", id)
	}
	return fault.New(fault.NotFound, "job %d has no task %d; its array is %s", id, index, array).Hint("bramble logs %d.INDEX", id)
}
