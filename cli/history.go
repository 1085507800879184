package cli

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"time"

	"bramble/job"
	"bramble/term"
)

type historyCmd struct {
	User  string `short:"u" help:"Only this user's." placeholder:"NAME"`
	Name  string `help:"Only jobs of this name." placeholder:"NAME"`
	Since string `help:"Only those that ended since: 18:30, 2026-12-24, or 2h for that long ago." placeholder:"TIME"`
	Last  int    `short:"n" help:"At most the newest so many; 0 for all that are remembered." default:"50"`
	CSV   bool   `name:"csv" help:"Print CSV, times in seconds and sizes in bytes."`
	JSON  bool   `help:"Print a JSON list."`
}

func (historyCmd) Examples() string {
	return "bramble history\nbramble history --user ann --since 24h\nbramble history --csv > jobs.csv\n"
}

func (c *historyCmd) Run(e *env) error {
	req := job.ListRequest{Ended: true, User: c.User, Name: c.Name, Limit: c.Last}
	var err error
	if req.Since, err = parseSince(c.Since, time.Now()); err != nil {
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	jobs := []job.Summary{}
	for j, err := range cl.Jobs.List(e.ctx, req) {
		if err != nil {
			return err
		}
		jobs = append(jobs, j)
	}
	switch {
	case c.JSON:
		return term.JSON(e.out.Stdout, jobs)
	case c.CSV:
		return historyCSV(e.out.Stdout, jobs)
	}
	if len(jobs) == 0 && e.out.Stdout.IsTerminal() {
		fmt.Fprintln(e.out.Stderr, "No job has ended. try: bramble submit -- hostname")
		return nil
	}
	return historyTable(e.out.Stdout.Style, jobs).Write(e.out.Stdout)
}

// parseSince reads a time as --begin does, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := term.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	at, err := parseBegin(text, now)
	if err == nil && at.After(now) { // a time of day is today's or yesterday's
		at = at.AddDate(0, 0, -1)
	}
	return at, err
}

func historyTable(s term.Style, jobs []job.Summary) *term.Table {
	t := term.NewTable(term.Column{Title: "JOB", Right: true}, term.Column{Title: "NAME", Priority: 1, Min: 8}, term.Column{Title: "USER", Priority: 3},
		term.Column{Title: "STATE"}, term.Column{Title: "EXIT", Priority: 1}, term.Column{Title: "TASKS", Right: true, Priority: 2},
		term.Column{Title: "TRIES", Right: true, Priority: 4}, term.Column{Title: "WALL", Right: true}, term.Column{Title: "CPU", Right: true, Priority: 1},
		term.Column{Title: "MEMORY", Right: true, Priority: 2}, term.Column{Title: "NODES", Priority: 3, Min: 8}, term.Column{Title: "ENDED", Priority: 4})
	for _, j := range jobs {
		t.Row(fmt.Sprint(j.ID), j.Spec.Name, j.Spec.User, jobState(s, j), exitText(j), term.Count(int64(j.Tasks)), term.Count(int64(j.Attempts)),
			term.Duration(j.Usage.Wall), term.Duration(j.Usage.User+j.Usage.System), maxRSS(j.Usage), j.Ran, j.Ended.Local().Format(time.DateTime))
	}
	return t
}

// maxRSS is the most memory that a task had, or - where that is not known: of one smaller than what started it.
func maxRSS(u job.Usage) string {
	if u.MaxRSS == 0 {
		return "-"
	}
	return term.Bytes(u.MaxRSS)
}

// exitText is a job's exit status, the signal that ended it, or - where it failed without either.
func exitText(j job.Summary) string {
	switch {
	case j.Signal != "":
		return j.Signal
	case j.Code == 0 && j.State == job.Failed:
		return "-"
	}
	return strconv.Itoa(j.Code)
}

func historyCSV(s *term.Stream, jobs []job.Summary) error {
	w := csv.NewWriter(s)
	w.Write([]string{"job", "name", "user", "account", "state", "tasks", "done", "failed", "cancelled", "attempts", "exit", "signal",
		"submitted", "started", "ended", "wall_s", "cpu_s", "max_rss_bytes", "nodes"})
	seconds := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	for _, j := range jobs {
		rss := "" // not known
		if j.Usage.MaxRSS > 0 {
			rss = strconv.FormatInt(j.Usage.MaxRSS, 10)
		}
		w.Write([]string{fmt.Sprint(j.ID), j.Spec.Name, j.Spec.User, j.Spec.Account, string(j.State), strconv.Itoa(j.Tasks), strconv.Itoa(j.Counts.Done),
			strconv.Itoa(j.Counts.Failed), strconv.Itoa(j.Counts.Cancelled), strconv.Itoa(j.Attempts), strconv.Itoa(j.Code), j.Signal,
			at(j.Submitted), at(j.Started), at(j.Ended), seconds(j.Usage.Wall), seconds(j.Usage.User + j.Usage.System), rss, j.Ran})
	}
	w.Flush()
	return w.Error()
}
