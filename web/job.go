package web

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

// jobView is a job's page.
type jobView struct {
	job.Detail
	Progress progress
	Took     string
	Left     string // how long the rest will take, as it looks
	Use      usage
	Grid     gridView
	Failed   []alike
	Timeline timelineView
	Task     int // whose output is shown
	HasTask  bool
	First    int // smallest and greatest index
	Last     int
	Script   string
	MayStop  bool
	Watch    bool // it has not ended
	Sees     bool // its output
}

// usage is what a job's tasks used, in words; "" for what is not known.
type usage struct{ Time, Each, Busy, Memory, Cores string }

func usageOf(d job.Detail) (u usage) {
	ended := d.Counts.Done + d.Counts.Failed
	if ended == 0 || d.Usage.Wall <= 0 {
		return u
	}
	cores := max(1, d.Spec.CPUs) * max(1, d.Spec.Ranks)
	u.Time = term.Duration(roundTime(d.Usage.Wall * time.Duration(cores)))
	if d.Tasks > 1 {
		u.Each = term.Duration(roundTime(d.Usage.Wall / time.Duration(ended)))
	}
	u.Busy = percent(float64(d.Usage.User+d.Usage.System) / float64(d.Usage.Wall) / float64(cores))
	if d.Usage.MaxRSS > 0 {
		u.Memory = term.Bytes(d.Usage.MaxRSS)
	}
	return u
}

// roundTime leaves out of a span of time what nobody reads.
func roundTime(d time.Duration) time.Duration {
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute)
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

// leftOf is how long a running job's other tasks take at the pace so far; "" when that cannot be told yet.
func leftOf(d job.Detail, now time.Time) string {
	ended := d.Counts.Done + d.Counts.Failed
	passed := now.Sub(d.Started)
	if !d.Ended.IsZero() || ended < 3 || d.Started.IsZero() || passed < time.Second || d.Counts.Running == 0 {
		return ""
	}
	return term.Duration(roundTime(time.Duration(float64(passed) / float64(ended) * float64(d.Tasks-ended-d.Counts.Cancelled))))
}

func jobViewOf(d job.Detail, g job.Grid, task int, v visitor, now time.Time) jobView {
	view := jobView{Detail: d, Progress: progressOf(d.Summary), Took: took(d.Summary, now), Left: leftOf(d, now), Use: usageOf(d), Task: task,
		MayStop: v.mayStop(d.Spec) && d.Ended.IsZero(), Watch: d.Ended.IsZero(), Sees: v.owns(d.Spec)}
	if view.Sees {
		view.Script = string(d.Spec.Script)
	}
	if array, err := job.ParseArray(cmp.Or(d.Spec.Array, "0")); err == nil && array.Len() > 0 {
		view.First, view.Last = array.At(0), array.At(array.Len()-1)
		if task < 0 {
			view.Task = view.First
		}
		_, view.HasTask = array.Position(view.Task)
	}
	view.Failed = alikeOf(d.Failures)
	view.Grid = gridViewOf(g, d, view.Task)
	return view
}

// readJob asks for a job and its grid.
func readJob(ctx context.Context, v visitor, id job.ID, task int) (jobView, error) {
	d, err := v.jobs.Job(ctx, id)
	if err != nil {
		return jobView{}, err
	}
	g, err := v.jobs.Grid(ctx, id, gridCells)
	if err != nil {
		return jobView{}, err
	}
	return jobViewOf(v.veiled(d), g, task, v, time.Now()), nil
}

// jobTimeline is where a job ran: lately, or as a whole when it has ended.
func jobTimeline(r *http.Request, d *job.Detail) timelineAsk {
	a := askTimeline(r, fmt.Sprintf("/jobs/%d", d.ID))
	a.job = d.ID
	if r.FormValue("window") == "" && d.Ended.IsZero() {
		a.look(time.Since(d.Submitted))
	}
	a.query.Set("job", strconv.FormatInt(int64(d.ID), 10))
	if !d.Ended.IsZero() && !d.Started.IsZero() {
		margin := max(time.Second, d.Ended.Sub(d.Started)/50)
		a.moving, a.until, a.base = false, d.Ended.Add(margin), d.Started
		a.width = a.until.Sub(d.Started)
	}
	return a
}

// jobOf reads which job, and which of its tasks, a request is about; no task is -1.
func jobOf(r *http.Request) (id job.ID, task int, err error) {
	n, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || n < 1 {
		return 0, 0, fault.New(fault.Misused, "%q is not a job's number", r.PathValue("id")).Hint("bramble queue --all")
	}
	task = -1
	if text := r.FormValue("task"); text != "" {
		if task, err = strconv.Atoi(text); err != nil || task < 0 {
			return 0, 0, fault.New(fault.Misused, "%q is not a task's index", text).Hint("/jobs/%d", n)
		}
	}
	return job.ID(n), task, nil
}

func (s *Server) jobPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, task, err := jobOf(r)
	if err != nil {
		return err
	}
	view, err := readJob(r.Context(), v, id, task)
	if err != nil {
		return err
	}
	if view.Timeline, err = readTimeline(r.Context(), v, jobTimeline(r, &view.Detail)); err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, "job", &v, fmt.Sprintf("Job %d", id), view)
	return nil
}

func (s *Server) jobLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, task, err := jobOf(r)
	if err != nil {
		return err
	}
	return s.frames(w, r, v, jobEvery, func(ctx context.Context) (list []fragment, done bool, err error) {
		view, err := readJob(ctx, v, id, task)
		if err != nil {
			return nil, false, err
		}
		for _, part := range []string{"job-head", "job-acts", "job-failures"} {
			f, err := s.fragment("job", part, part, "", view)
			if err != nil {
				return nil, false, err
			}
			list = append(list, f)
		}
		for _, chunk := range view.Grid.Chunks {
			f, err := s.fragment("job", "grid-chunk", chunk.ID, "", chunk)
			if err != nil {
				return nil, false, err
			}
			list = append(list, f)
		}
		return list, !view.Ended.IsZero(), nil
	})
}

// jobChange answers a button of a job's page.
func (s *Server) jobChange(do func(r *http.Request, v visitor, id job.ID) (job.Summary, error)) page {
	return func(w http.ResponseWriter, r *http.Request, v visitor) error {
		id, _, err := jobOf(r)
		if err != nil {
			return err
		}
		if _, err := do(r, v, id); err != nil {
			return err
		}
		http.Redirect(w, r, fmt.Sprintf("/jobs/%d", id), http.StatusSeeOther)
		return nil
	}
}

// jobOutput streams what one task writes, from its beginning.
func (s *Server) jobOutput(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, task, err := jobOf(r)
	if err != nil {
		return err
	}
	return s.pushes(w, r, v, func(ctx context.Context, emit func(piece) bool) error {
		emit(piece{html: outputBox("No output yet.")})
		var text outputText
		n := 0
		for line, err := range v.jobs.Logs(ctx, job.LogRequest{ID: id, Index: max(0, task), Follow: true}) {
			if fault.Is(err, fault.Denied) || fault.Is(err, fault.NotFound) {
				emit(piece{html: outputBox(fault.Of(err).Text)})
				return nil
			}
			if err != nil {
				return err
			}
			n++
			html := text.html(line, n)
			if html != "" && !emit(piece{html: `<i data-into="output" data-last></i>` + html}) {
				return nil
			}
		}
		if n == 0 {
			emit(piece{html: outputBox("This task wrote nothing.")})
		}
		return nil
	})
}

func outputBox(note string) template.HTML {
	return template.HTML(`<pre id="output" tabindex="0" aria-label="Output" data-most="4000" data-note="` + template.HTMLEscapeString(clean(note)) + `"></pre>`)
}

// outputText makes HTML of a task's output. Bytes of a character or of a line's end that was cut wait for the rest.
type outputText struct {
	attempt int
	cut     [2][]byte // of stdout and stderr
}

func (o *outputText) html(l job.Line, n int) template.HTML {
	var b strings.Builder
	if l.Attempt != o.attempt && o.attempt != 0 {
		fmt.Fprintf(&b, `<b id="o%da">attempt %d</b>`, n, l.Attempt)
		o.cut = [2][]byte{}
	}
	o.attempt = l.Attempt
	class, data := "out", l.Data
	switch {
	case l.Note:
		class = "note"
	case l.Stderr:
		class, data = "err", o.whole(1, data)
	default:
		data = o.whole(0, data)
	}
	if len(data) > 0 {
		text := template.HTMLEscapeString(string(term.Clean(nil, data, false)))
		fmt.Fprintf(&b, `<span id="o%d" class="%s">%s</span>`, n, class, text)
	}
	return template.HTML(b.String())
}
