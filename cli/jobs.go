package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bramble/cluster"
	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

type queueCmd struct {
	All  bool   `short:"a" help:"Ended jobs too."`
	Last int    `short:"n" help:"With --all, at most so many." default:"50"`
	User string `short:"u" help:"Only this user's." placeholder:"NAME"`
	Why  string `help:"Say what a waiting job waits for, and until when if that can be known." placeholder:"JOB"`
	JSON bool   `help:"Print a JSON list."`
}

func (queueCmd) Examples() string {
	return "bramble queue\nbramble queue --all\nbramble queue --why 7\n"
}

func (c *queueCmd) Run(e *env) error {
	if c.Why != "" {
		return c.why(e)
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	req := job.ListRequest{Open: !c.All, User: c.User}
	if c.All {
		req.Limit = c.Last
	}
	jobs := []job.Summary{}
	for j, err := range cl.Jobs.List(e.ctx, req) {
		if err != nil {
			return err
		}
		jobs = append(jobs, j)
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, jobs)
	}
	if len(jobs) == 0 && e.out.Stdout.IsTerminal() {
		fmt.Fprintln(e.out.Stderr, "Nothing is queued. try: bramble submit -- hostname")
		return nil
	}
	s := e.out.Stdout
	t := term.NewTable(term.Column{Title: "JOB", Right: true}, term.Column{Title: "NAME", Priority: 1, Min: 8}, term.Column{Title: "USER", Priority: 3},
		term.Column{Title: "STATE"}, term.Column{Title: "TASKS", Right: true}, term.Column{Title: "WAITING", Right: true, Priority: 2},
		term.Column{Title: "RUNNING", Right: true, Priority: 1}, term.Column{Title: "DONE", Right: true, Priority: 1},
		term.Column{Title: "FAILED", Right: true, Priority: 2}, term.Column{Title: "TIME", Right: true, Priority: 2}, term.Column{Title: "COMMAND", Priority: 4, Min: 12})
	for _, j := range jobs {
		t.Row(fmt.Sprint(j.ID), j.Spec.Name, j.Spec.User, jobState(s.Style, j), term.Count(int64(j.Tasks)), term.Count(int64(j.Counts.Pending)),
			term.Count(int64(j.Counts.Running)), term.Count(int64(j.Counts.Done)), term.Count(int64(j.Counts.Failed)), took(j), command(j.Spec))
	}
	return t.Write(s)
}

// why says what one job waits for.
func (c *queueCmd) why(e *env) error {
	cl, d, _, err := openJob(e, c.Why)
	if err != nil {
		return err
	}
	defer cl.Close()
	if c.JSON {
		return term.JSON(e.out.Stdout, d.Why)
	}
	text := whyText(d.Why)
	switch {
	case !d.Ended.IsZero():
		text = "has ended: " + string(d.State)
	case text == "" && d.Counts.Running > 0:
		text = "waits for nothing: it runs"
	case text == "":
		text = "waits for nothing: it is about to start"
	default:
		text = "waits: " + text
	}
	_, err = fmt.Fprintf(e.out.Stdout, "job %d %s\n", d.ID, text)
	return err
}

func jobState(s term.Style, j job.Summary) string {
	switch j.State {
	case job.Done:
		return s.Good(string(j.State))
	case job.Failed, job.Cancelled:
		return s.Bad(string(j.State))
	case job.Running:
		return s.Bold(string(j.State))
	}
	return string(j.State)
}

// took is how long a job has run, or ran.
func took(j job.Summary) string {
	switch {
	case j.Started.IsZero():
		return "-"
	case j.Ended.IsZero():
		return term.Duration(time.Since(j.Started))
	}
	return term.Duration(j.Ended.Sub(j.Started))
}

func command(s job.Spec) string {
	if len(s.Args) == 0 {
		return "(script)"
	}
	return strings.Join(s.Args, " ")
}

type jobCmd struct {
	Show    jobShowCmd    `cmd:"" default:"withargs" help:"Show everything about a job."`
	Hold    jobHoldCmd    `cmd:"" help:"Keep what has not started of jobs from starting."`
	Release jobReleaseCmd `cmd:"" help:"Let held jobs start."`
	Requeue jobRequeueCmd `cmd:"" help:"Stop what runs of a job and have it wait and start anew."`
	Alter   jobAlterCmd   `cmd:"" help:"Change what was asked for of a job that waits."`
}

type jobShowCmd struct {
	ID   string `arg:"" help:"Number of the job."`
	JSON bool   `help:"Print JSON."`
}

func (jobShowCmd) Examples() string { return "bramble job 7\n" }

func (c *jobShowCmd) Run(e *env) error {
	cl, d, _, err := openJob(e, c.ID)
	if err != nil {
		return err
	}
	defer cl.Close()
	if c.JSON {
		return term.JSON(e.out.Stdout, d)
	}
	return printJob(e.out.Stdout, d)
}

func countTasks(n int) string {
	if n == 1 {
		return "1 task"
	}
	return term.Count(int64(n)) + " tasks"
}

func printJob(s *term.Stream, d job.Detail) error {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(s, "%s %s\n", s.Dim(fmt.Sprintf("%-10s", name)), term.Clean(nil, fmt.Appendf(nil, format, args...), true))
	}
	title := fmt.Sprintf("job %d", d.ID)
	if d.Spec.Name != "" {
		title += " " + string(term.Clean(nil, []byte(d.Spec.Name), false))
	}
	fmt.Fprintf(s, "%s %s\n", s.Bold(title), jobState(s.Style, d.Summary))
	line("command", "%s", command(d.Spec))
	line("user", "%s", d.Spec.User)
	if d.Spec.Array != "" {
		line("array", "%s (%s)", d.Spec.Array, countTasks(d.Tasks))
	}
	line("needs", "%s", needsText(d.Spec))
	if d.Spec.Partition != "" {
		line("partition", "%s", d.Spec.Partition)
	}
	if d.Spec.Account != "" {
		line("account", "%s", d.Spec.Account)
	}
	if len(d.Spec.Depend) > 0 {
		line("after", "%s", dependText(d.Spec))
	}
	if d.Spec.Comment != "" {
		line("comment", "%s", d.Spec.Comment)
	}
	line("submitted", "%s", d.Submitted.Local().Format(time.DateTime))
	if d.Why.Text != "" {
		line("waits", "%s", whyText(d.Why))
	}
	if !d.Started.IsZero() {
		line("time", "%s", took(d.Summary))
	}
	if d.Attempts > 0 {
		line("ran on", "%s (%s)", d.Ran, attemptsText(d.Attempts))
	}
	if !d.Ended.IsZero() && d.State != job.Cancelled {
		line("exit", "%s", exitText(d.Summary))
	}
	if d.CancelledBy != "" {
		line("cancelled", "by %s, %s", d.CancelledBy, d.CancelledAt.Local().Format(time.DateTime))
	}
	line("used", "CPU %s, most memory of a task %s", term.Duration(d.Usage.User+d.Usage.System), maxRSS(d.Usage))
	for _, state := range []job.TaskState{job.Pending, job.Running, job.Done, job.Failed, job.Cancelled} {
		if which := d.Indices[string(state)]; which != "" {
			line(string(state), "%s", shorten(which, 200))
		}
	}
	for i, p := range d.Placements {
		if i == 20 {
			line("on", "… and %d more", len(d.Placements)-i)
			break
		}
		line("on", "%s: task %d, attempt %d%s", p.Node, p.Index, p.Attempt, map[bool]string{true: ", next in line"}[p.Waiting])
	}
	for i, f := range d.Failures {
		if i == 20 {
			line("failed", "… and %d more", len(d.Failures)-i)
			break
		}
		line("failed", "task %d on %s, attempt %d: %s", f.Index, f.Node, f.Attempt, failureText(f))
	}
	return nil
}

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}

// parseTask reads JOB or JOB.INDEX; index is -1 without one.
func parseTask(text string) (job.ID, int, error) {
	left, right, dotted := strings.Cut(text, ".")
	id, err := strconv.ParseInt(left, 10, 64)
	index := -1
	if err == nil && dotted {
		index, err = strconv.Atoi(right)
	}
	if err != nil || id < 1 || dotted && index < 0 {
		return 0, 0, fault.New(fault.Misused, "%q is no job: a number such as 7, or 7.3 for task 3 of it", text).Hint("bramble queue --all")
	}
	return job.ID(id), index, nil
}

// openJob opens the cluster of a job, or of one task of it, that somebody names; index is -1 for the whole job.
func openJob(e *env, text string) (cl *cluster.Cluster, d job.Detail, index int, err error) {
	id, index, err := parseTask(text)
	if err != nil {
		return nil, d, index, err
	}
	if cl, err = e.open(); err != nil {
		return nil, d, index, err
	}
	if d, err = cl.Jobs.Job(e.ctx, id); err != nil {
		cl.Close()
		return nil, d, index, err
	}
	return cl, d, index, nil
}
