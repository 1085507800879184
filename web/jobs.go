package web

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

const (
	pageJobs   = 100 // on the Jobs page: the newest
	maxSquares = 1000
	jobEvery   = time.Second // how often a live page asks about jobs
)

// jobRow is a job among others.
type jobRow struct {
	job.Summary
	Progress progress
	Took     string
}

// jobsView is the Jobs page.
type jobsView struct{ Rows []jobRow }

func rowOf(sum job.Summary, now time.Time) jobRow {
	return jobRow{sum, progressOf(sum), took(sum, now)}
}

// summaries is the newest jobs, the newest first.
func summaries(ctx context.Context, v visitor, req job.ListRequest) (list []job.Summary, err error) {
	for sum, err := range v.jobs.List(ctx, req) {
		if err != nil {
			return nil, err
		}
		list = append(list, sum)
	}
	slices.SortFunc(list, func(a, b job.Summary) int { return cmp.Compare(b.ID, a.ID) })
	return list, nil
}

func (s *Server) jobsPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := summaries(r.Context(), v, job.ListRequest{Limit: pageJobs})
	if err != nil {
		return err
	}
	var view jobsView
	for _, sum := range list {
		view.Rows = append(view.Rows, rowOf(sum, time.Now()))
	}
	s.show(w, r, http.StatusOK, "jobs", &v, "Jobs", view)
	return nil
}

func (s *Server) jobsLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	return s.frames(w, r, v, jobEvery, func(ctx context.Context) (rows []fragment, done bool, err error) {
		list, err := summaries(ctx, v, job.ListRequest{Limit: pageJobs})
		if err != nil {
			return nil, false, err
		}
		for _, sum := range list {
			f, err := s.fragment("jobs", "job-row", fmt.Sprintf("job-%d", sum.ID), "jobs", rowOf(sum, time.Now()))
			if err != nil {
				return nil, false, err
			}
			rows = append(rows, f)
		}
		return rows, false, nil
	})
}

// jobView is a job's page.
type jobView struct {
	job.Detail
	Progress progress
	Took     string
	Squares  []square // one a task, when there are few enough
	Ranges   []ranged // tasks by state otherwise
	Task     int      // whose output is shown
	HasTask  bool
	First    int // smallest and greatest index
	Last     int
	MayStop  bool
	Watch    bool // it has not ended
}

// square is one task.
type square struct {
	Index int
	State job.TaskState
	Node  string // where it runs
	Shown bool   // its output is on the page
}

// ranged is the tasks in one state.
type ranged struct {
	State   job.TaskState
	Indices string
	N       int
}

func jobViewOf(d job.Detail, task int, mayStop bool, now time.Time) jobView {
	view := jobView{Detail: d, Progress: progressOf(d.Summary), Took: took(d.Summary, now), Task: task,
		MayStop: mayStop && d.Ended.IsZero(), Watch: d.Ended.IsZero()}
	if array, err := job.ParseArray(cmp.Or(d.Spec.Array, "0")); err == nil && array.Len() > 0 {
		view.First, view.Last = array.At(0), array.At(array.Len()-1)
		if task < 0 {
			view.Task = view.First
		}
		_, view.HasTask = array.Position(view.Task)
	}
	if d.Tasks <= maxSquares {
		view.Squares = squaresOf(d, view.Task)
		return view
	}
	for _, state := range taskStates() {
		if text := d.Indices[string(state)]; text != "" {
			view.Ranges = append(view.Ranges, ranged{state, text, countIn(d.Counts, state)})
		}
	}
	return view
}

func taskStates() []job.TaskState {
	return []job.TaskState{job.Running, job.Failed, job.Pending, job.Done, job.Cancelled}
}

func countIn(c job.Counts, state job.TaskState) int {
	return map[job.TaskState]int{job.Pending: c.Pending, job.Running: c.Running, job.Done: c.Done,
		job.Failed: c.Failed, job.Cancelled: c.Cancelled}[state]
}

// squaresOf is a job's tasks by index.
func squaresOf(d job.Detail, shown int) []square {
	nodes := map[int]string{}
	for _, p := range d.Placements {
		nodes[p.Index] = p.Node
	}
	for _, f := range d.Failures {
		nodes[f.Index] = f.Node
	}
	var squares []square
	for _, state := range taskStates() {
		text := d.Indices[string(state)]
		array, err := job.ParseArray(text)
		if err != nil || text == "" {
			continue
		}
		for index := range array.All() {
			squares = append(squares, square{index, state, nodes[index], index == shown})
		}
	}
	slices.SortFunc(squares, func(a, b square) int { return cmp.Compare(a.Index, b.Index) })
	return squares
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
	d, err := v.jobs.Job(r.Context(), id)
	if err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, "job", &v, fmt.Sprintf("Job %d", id), jobViewOf(d, task, v.mayStop(d.Spec), time.Now()))
	return nil
}

func (s *Server) jobLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, task, err := jobOf(r)
	if err != nil {
		return err
	}
	return s.frames(w, r, v, jobEvery, func(ctx context.Context) (list []fragment, done bool, err error) {
		d, err := v.jobs.Job(ctx, id)
		if err != nil {
			return nil, false, err
		}
		view := jobViewOf(d, task, v.mayStop(d.Spec), time.Now())
		for _, part := range []string{"job-head", "job-stop", "job-tasks", "job-failures"} {
			f, err := s.fragment("job", part, part, "", view)
			if err != nil {
				return nil, false, err
			}
			list = append(list, f)
		}
		return list, !d.Ended.IsZero(), nil
	})
}

func (s *Server) jobCancel(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, _, err := jobOf(r)
	if err != nil {
		return err
	}
	if _, err := v.jobs.Cancel(r.Context(), id); err != nil {
		return err
	}
	http.Redirect(w, r, fmt.Sprintf("/jobs/%d", id), http.StatusSeeOther)
	return nil
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
