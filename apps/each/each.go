// Package each runs a command for every input on the cluster, with GNU parallel's words and habits.
package each

import (
	"time"

	"bramble/job"
)

// Options is what a person asked for.
type Options struct {
	Command []string // words with replacement strings; none: every input is a command
	Sources []Source // none: standard input
	Null    bool     // inputs end with a zero byte, not with a line
	Colsep  string   // splits an input into {1} {2} …; "" does not
	MaxArgs int      // inputs for one run; 0: one
	Link    bool     // the sources go side by side, the shorter ones over again

	Jobs      int           // at the same time on the whole cluster; 0: as many as it has room for
	KeepOrder bool          // output in the order of inputs
	Halt      Halt          // when to stop early
	Joblog    string        // file to note each run in; "" none
	Resume    Resume        // what the joblog says has been done is not done again
	Tag       bool          // each line of output begins with the inputs
	DryRun    bool          // print the commands instead
	Transfer  []string      // templates of files that travel to the run
	Return    []string      // templates of files that come back
	Basefile  []string      // files that travel to every run
	Delay     time.Duration // between two submissions
	Spec      job.Spec      // what else is asked of every run: nodes, cores, time limit, retries
}

// Source is one source of inputs, as :::, ::::, :::+ and ::::+ name it.
type Source struct {
	Values []string
	File   string // read instead of Values; "-" is standard input
	Linked bool   // goes side by side with the source before it
}

// Resume is what of an earlier joblog is not run again.
type Resume int

const (
	ResumeNone   Resume = iota
	ResumeAll           // all that is in it
	ResumeFailed        // what succeeded
)

// Run is one run of the command.
type Run struct {
	Seq     int // from 1
	Args    []string
	Line    string // for the shell
	Send    []string
	Receive []string
}

// Outcome is how a run ended.
type Outcome struct {
	Run
	Host    string
	Started time.Time
	Took    time.Duration
	Code    int
	Signal  int
	Problem string // why it did not run, or was not seen to end
	Stdout  []byte
	Stderr  []byte
}

// OK reports whether the run did what it was asked.
func (o *Outcome) OK() bool { return o.Code == 0 && o.Signal == 0 && o.Problem == "" }
