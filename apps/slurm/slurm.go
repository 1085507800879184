// Package slurm lets people who come from Slurm keep their scripts and their habits: it reads sbatch's
// directives and options, and prints jobs and nodes in the columns of squeue, sinfo, sacct and scontrol.
package slurm

import (
	"time"

	"bramble/job"
)

// Batch is what somebody asks of sbatch.
type Batch struct {
	Spec     job.Spec // with no Script and Args yet
	Export   string   // as typed: ALL, NONE, names and settings; "" when nobody said
	Wrap     string   // a command line to run instead of a script
	Args     []string // the script and its arguments, of a command line
	Warnings []string // what was asked for and cannot be honoured, each with its place
	Wait     bool     // stay until the job has ended
	TestOnly bool     // say whether it could run, and submit nothing
	Named    bool     // whoever asked named files for the output
	Parsable bool     // answer with the number alone
	Quiet    bool     // no "Submitted batch job"
	Help     bool
	Version  bool

	now       time.Time
	shared    func(folder string) bool
	at        string     // where the option stands that is being read, for warnings
	nodelist  []string   // names
	exclude   []string   // hostlists
	wanted    [][]string // the constraint: alternatives, each of terms that must all hold
	gpus      int        // of the whole job
	gpusATask int
}

// Input is all that a batch is read from. Later sources override earlier ones: script, environment, options.
type Input struct {
	Path    string   // the script's name, for messages
	Script  []byte   // nil: there is none
	Environ []string // of which SBATCH_… variables count
	Options []string // the words after sbatch; nil: it was not called by that name
	Now     time.Time
	Shared  func(folder string) bool // whether a folder is the same on every node; nil: none is
}

// Read puts together what a script's directives, the environment and a command line ask for.
func Read(in Input) (*Batch, error) {
	b := &Batch{now: in.Now, shared: in.Shared, Spec: job.Spec{Slurm: true}}
	directives, err := Directives(in.Script)
	if err != nil {
		return nil, of(in.Path, err)
	}
	for _, d := range directives {
		b.at = in.Path + ", line " + d.where()
		if d.late {
			b.warn("#SBATCH stands after the script's first command, where sbatch does not look")
			continue
		}
		if _, err := b.read(d.Words, alone); err != nil {
			return nil, of(b.at, err)
		}
	}
	if in.Options != nil {
		if err := b.environment(in.Environ); err != nil {
			return nil, err
		}
		b.at = "sbatch"
		if b.Args, err = b.read(in.Options, stop); err != nil {
			return nil, err
		}
	}
	b.at = "sbatch"
	if in.Path != "" {
		b.at = in.Path
	}
	b.Named = b.Spec.Output != "" || b.Spec.Error != ""
	return b, b.settle()
}

func (b *Batch) warn(text string) { b.Warnings = append(b.Warnings, b.at+": "+text) }
