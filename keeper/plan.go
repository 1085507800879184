package keeper

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bramble/fault"
	"bramble/sorts"
)

const (
	maxID = 128
	// cutSize is how long the journal may grow before it is worth cutting while work goes on.
	cutSize = 1 << 20
	// A batch of ended tasks holds at most so many, and little more than so much small output.
	batchTasks = 200
	batchBytes = 1 << 20
)

// replay folds a journal's facts into what a new keeper has to do.
type replay struct {
	begun map[string]time.Time
	ended map[string]Status
	order []string // of ended, with repeats
}

func (r *replay) apply(f fact) {
	if r.begun == nil {
		r.begun, r.ended = map[string]time.Time{}, map[string]Status{}
	}
	switch f.kind {
	case kindBegun:
		if _, over := r.ended[f.begun.ID]; !over {
			r.begun[f.begun.ID] = f.begun.At
		}
	case kindEnded:
		delete(r.begun, f.ended.ID)
		r.ended[f.ended.ID] = f.ended
		r.order = append(r.order, f.ended.ID)
	case kindForgotten:
		for _, id := range f.forgotten {
			delete(r.begun, id)
			delete(r.ended, id)
		}
	}
}

// kept are the ended tasks nobody has forgotten, in the order they ended.
func (r *replay) kept() []Status {
	var kept []Status
	seen := map[string]bool{}
	for _, id := range slices.Backward(r.order) {
		if status, ok := r.ended[id]; ok && !seen[id] {
			seen[id] = true
			kept = append(kept, status)
		}
	}
	slices.Reverse(kept)
	return kept
}

// lost are the tasks that began and whose end nobody recorded, as they have ended now.
func (r *replay) lost(now time.Time) []Status {
	var lost []Status
	for id, at := range r.begun {
		lost = append(lost, Status{ID: id, Started: at, Ended: now, Error: Lost})
	}
	sorts.By(lost, func(a, b Status) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return lost
}

// worthCutting decides whether to rewrite a journal of the given size of which live bytes still count.
func worthCutting(size, live int64, idle bool) bool {
	if idle && live == 0 {
		return size > int64(len(journalMagic))
	}
	return size > cutSize && live < size/4
}

// check tells what is wrong with a task's words.
func (t Task) check() error {
	switch {
	case !validID(t.ID):
		return fault.New(fault.Misused, "task id %.150q is not made of a-z, 0-9, dot and dash", t.ID)
	case len(t.Args) == 0:
		return fault.New(fault.Misused, "task %s has no command", t.ID)
	case t.TTY != nil && t.Stdio == "":
		return fault.New(fault.Misused, "task %s has a terminal that leads nowhere", t.ID)
	case t.Copy != nil && (t.Stdio != "" || t.Copy.Out == "" && t.Copy.Err == "" || !rooted(t.Copy.Out) || !rooted(t.Copy.Err)):
		return fault.New(fault.Misused, "task %s has output that can go to no file", t.ID)
	case t.Cap < 0 || t.Timeout < 0 || t.Grace < 0:
		return fault.New(fault.Misused, "task %s has a cap, timeout or grace below zero", t.ID)
	}
	return nil
}

// rooted reports whether a file's path says where it is, if there is one.
func rooted(path string) bool { return path == "" || filepath.IsAbs(path) }

func validID(id string) bool {
	if id == "" || len(id) > maxID || id[0] == '.' || id[0] == '-' {
		return false
	}
	return strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}

// small reports whether an ended task's output rides along with its status.
func (s Status) small() bool { return s.Stdout+s.Stderr <= SmallOutput }
