package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/term"
)

// whyText is why a job waits, and until when if that is known.
func whyText(r job.Reason) string {
	if r.Until.IsZero() {
		return r.Text
	}
	return fmt.Sprintf("%s; until %s at the latest", r.Text, r.Until.Local().Format(time.DateTime))
}

// needsText is what a task takes of the nodes.
func needsText(s job.Spec) string {
	each := "a task"
	text := ""
	if s.Spread() {
		each = "a rank"
		text = fmt.Sprintf("%d ranks", s.Ranks)
		if s.Nodes > 0 {
			text += fmt.Sprintf(" on %d nodes", s.Nodes)
		}
		if s.RanksPerNode > 0 {
			text += fmt.Sprintf(", at most %d on one", s.RanksPerNode)
		}
		text += ", "
	}
	if s.CPUs == 1 {
		text += "1 core " + each
	} else {
		text += fmt.Sprintf("%d cores %s", s.CPUs, each)
	}
	switch {
	case s.MemoryPerCPU > 0:
		text += ", " + term.Bytes(s.MemoryPerCPU) + " a core"
	case s.Memory > 0:
		text += ", " + term.Bytes(s.Memory)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Gres)) {
		text += fmt.Sprintf(", %s:%d", name, s.Gres[name])
	}
	if s.Exclusive {
		text += ", nodes of its own"
	}
	if s.Timeout > 0 {
		text += ", at most " + term.Duration(s.Timeout)
	}
	if s.On != "" {
		text += ", on " + s.On
	}
	return text
}

// dependText is what a job waits for, as --depend takes it.
func dependText(s job.Spec) string {
	var words []string
	for _, d := range s.Depend {
		word := string(d.Kind)
		if d.Job > 0 {
			word += fmt.Sprintf(":%d", d.Job)
		}
		words = append(words, word)
	}
	if s.DependAny {
		return "one of " + strings.Join(words, ", ")
	}
	return strings.Join(words, ", ")
}

func attemptsText(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

type jobHoldCmd struct {
	IDs []string `arg:"" help:"Numbers of the jobs."`
}

func (jobHoldCmd) Examples() string { return "bramble job hold 7\n" }

func (c *jobHoldCmd) Run(e *env) error {
	return eachJob(e, c.IDs, "held", func(cl *cluster.Cluster, id job.ID, _ int) error {
		_, err := cl.Jobs.Hold(e.ctx, id)
		return err
	})
}

type jobReleaseCmd struct {
	IDs []string `arg:"" help:"Numbers of the jobs."`
}

func (jobReleaseCmd) Examples() string { return "bramble job release 7\n" }

func (c *jobReleaseCmd) Run(e *env) error {
	return eachJob(e, c.IDs, "released", func(cl *cluster.Cluster, id job.ID, _ int) error {
		_, err := cl.Jobs.Release(e.ctx, id)
		return err
	})
}

type jobRequeueCmd struct {
	IDs []string `arg:"" help:"Numbers of the jobs, or JOB.INDEX for one task of an array."`
}

func (jobRequeueCmd) Examples() string { return "bramble job requeue 7\nbramble job requeue 7.3\n" }

func (c *jobRequeueCmd) Run(e *env) error {
	return eachJob(e, c.IDs, "requeued", func(cl *cluster.Cluster, id job.ID, index int) error {
		var one *int
		if index >= 0 {
			one = &index
		}
		_, err := cl.Jobs.Requeue(e.ctx, id, one)
		return err
	})
}

type jobAlterCmd struct {
	ID      string  `arg:"" help:"Number of the job."`
	Nice    *int    `help:"Let others go first: as if it had come so many seconds later; below zero for admins." placeholder:"SECONDS"`
	Timeout string  `help:"End a task after so long, counted from when it began; what runs follows." placeholder:"D"`
	Begin   string  `help:"Not before: 18:30, 2026-12-24T18:30, or +2h; now for at once." placeholder:"TIME"`
	Name    *string `help:"A name for people."`
	Comment *string `help:"A line for people." placeholder:"TEXT"`
}

func (jobAlterCmd) Examples() string {
	return "bramble job alter 7 --nice 600\nbramble job alter 7 --timeout 2h --begin 22:00\n"
}

func (c *jobAlterCmd) Run(e *env) error {
	set := job.Alteration{Nice: c.Nice, Name: c.Name, Comment: c.Comment}
	if c.Timeout != "" {
		d, err := optionalDuration("--timeout", c.Timeout)
		if err != nil {
			return err
		}
		set.Timeout = &d
	}
	if c.Begin != "" {
		var at time.Time
		if c.Begin != "now" {
			var err error
			if at, err = parseBegin(c.Begin, time.Now()); err != nil {
				return err
			}
		}
		set.Begin = &at
	}
	if set == (job.Alteration{}) {
		return fault.New(fault.Misused, "nothing is to be changed of job %s", c.ID).Hint("bramble job alter %s --nice 600", c.ID)
	}
	return eachJob(e, []string{c.ID}, "changed", func(cl *cluster.Cluster, id job.ID, _ int) error {
		sum, err := cl.Jobs.Alter(e.ctx, id, set)
		if len(sum.Keep) > 0 {
			fmt.Fprintf(e.out.Stderr, "what runs of job %d on %s keeps the limit it began with: the agent or the keeper there is of an earlier version\n", id, fleet.Fold(sum.Keep))
		}
		return err
	})
}

// eachJob does something to each of the jobs and says so.
func eachJob(e *env, ids []string, did string, do func(cl *cluster.Cluster, id job.ID, index int) error) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, text := range ids {
		id, index, err := parseTask(text)
		if err == nil {
			err = do(cl, id, index)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out.Stdout, "job %s %s\n", text, did)
	}
	return nil
}
