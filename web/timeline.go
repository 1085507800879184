package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/job"
	"bramble/sorts"
	"bramble/term"
)

const (
	hues          = 8    // colours that jobs take in turn
	timelineSpans = 1200 // on a page
	heatColumns   = 60
	chartHeight   = 400 // of all rows, in CSS pixels, about
)

// timelineView is who ran where, as a page draws it.
type timelineView struct {
	Rows    []timelineRow
	Live    string // address of its stream; "" when it does not go on
	Width   int    // seconds from left to right
	Now     int64  // right edge when it was drawn, Unix milliseconds
	Base    int64  // Unix seconds of x = 0
	Ticks   []string
	Windows []window
	Jobs    []jobChip
	Ends    []string // how spans ended that have not their job's colour
	Hidden  int
	Part    string // which of the nodes are shown, when not all are
	Whole   string // address of all of them
}

// window is a choice of how far back one looks.
type window struct {
	Name, Link string
	Here       bool
}

type jobChip struct {
	ID  job.ID
	Hue int
}

// timelineRow is a node, or several.
type timelineRow struct {
	ID, Name, Link string
	Box            string // viewBox
	Class          string // of its height
	Groups         []spanGroup
	Slide          bool // it moves with the time
	Base           int64
	Width          int
}

// spanGroup is spans of one job that follow each other.
type spanGroup struct {
	Job   job.ID // 0 for how busy nodes were
	Spans []box
}

// box is one span; x and w in seconds, y and h in parts of the row's height.
type box struct {
	Class      string
	X, W, Y, H string
	Title      string
}

// timelineAsk is which timeline a page shows.
type timelineAsk struct {
	path   string // of the page
	query  url.Values
	width  time.Duration
	base   time.Time // x = 0
	until  time.Time // zero: now
	job    job.ID
	skip   int
	nodes  int
	moving bool
}

// askTimeline reads from a request which timeline it is about.
func askTimeline(r *http.Request, path string) timelineAsk {
	a := timelineAsk{path: path, width: 10 * time.Minute, moving: true, query: url.Values{}}
	if d, err := term.ParseDuration(r.FormValue("window")); err == nil && d >= time.Minute && d <= 7*24*time.Hour {
		a.width = d.Round(time.Second)
		a.query.Set("window", r.FormValue("window"))
	}
	for name, n := range map[string]*int{"skip": &a.skip, "nodes": &a.nodes} {
		if *n, _ = strconv.Atoi(r.FormValue(name)); *n > 0 {
			a.query.Set(name, strconv.Itoa(*n))
		}
		*n = max(0, *n)
	}
	base, _ := strconv.ParseInt(r.FormValue("base"), 10, 64)
	if a.base = time.Unix(base, 0); base <= 0 {
		a.base = time.Now().Add(-a.width).Truncate(time.Second)
	}
	return a
}

// windows are how far back one may look with a click.
func windows() []string { return []string{"2m", "10m", "1h", "6h", "1d"} }

// look goes back as far as the shortest window that shows all of what began so long ago.
func (a *timelineAsk) look(ago time.Duration) {
	for _, name := range windows() {
		a.width, _ = term.ParseDuration(name)
		a.query.Set("window", name)
		if a.width > ago {
			break
		}
	}
	a.base = time.Now().Add(-a.width).Truncate(time.Second)
}

// request is what the job room is asked for.
func (a *timelineAsk) request(now time.Time) job.TimelineRequest {
	until := a.until
	if until.IsZero() {
		until = now
	}
	req := job.TimelineRequest{Since: until.Add(-a.width), Until: a.until, Job: a.job, Skip: a.skip, Nodes: a.nodes, Most: timelineSpans, Columns: heatColumns}
	if a.until.IsZero() { // columns that stay where they are while time goes on
		step := max(time.Second, a.width/heatColumns).Truncate(time.Second)
		req.Since = req.Since.Truncate(step)
		req.Until = now.Truncate(step).Add(step)
		req.Columns = int(req.Until.Sub(req.Since) / step)
	}
	return req
}

// link is the page's address with something else in the query.
func (a *timelineAsk) link(change map[string]string) string {
	q := url.Values{}
	for name, values := range a.query {
		q[name] = values
	}
	for name, value := range change {
		if q.Set(name, value); value == "" {
			q.Del(name)
		}
	}
	if len(q) == 0 {
		return a.path
	}
	return a.path + "?" + q.Encode()
}

// timelineViewOf draws an answer.
func timelineViewOf(t job.Timeline, a timelineAsk, now time.Time) timelineView {
	until := a.until
	if until.IsZero() {
		until = now
	}
	v := timelineView{Width: int(max(1, a.width.Seconds())), Now: until.UnixMilli(), Base: a.base.Unix(), Hidden: t.Hidden, Ticks: ticksOf(a.width, a.moving)}
	spans := make([][]job.Span, len(t.Rows))
	hue := map[job.ID]bool{}
	for _, s := range t.Spans {
		spans[s.Row] = append(spans[s.Row], s)
		if end := string(s.State); (s.State == job.Failed || s.State == job.Cancelled) && !slices.Contains(v.Ends, end) {
			v.Ends = append(v.Ends, end)
		}
		if !hue[s.Job] {
			hue[s.Job] = true
			v.Jobs = append(v.Jobs, jobChip{s.Job, hueOf(s.Job)})
		}
	}
	sorts.By(v.Jobs, func(a, b jobChip) int { return cmp.Compare(b.ID, a.ID) })
	v.Jobs = v.Jobs[:min(len(v.Jobs), 12)]
	left := until.Add(-a.width).Sub(a.base).Seconds()
	for i, r := range t.Rows {
		row := timelineRow{ID: fmt.Sprintf("tl-%d", r.Skip), Name: r.Name, Class: fmt.Sprintf("r%d", rowClass(len(t.Rows))), Slide: a.moving,
			Base: a.base.Unix(), Width: v.Width, Box: fmt.Sprintf("%.1f 0 %d 100", left, v.Width), Link: "/nodes/" + r.Name}
		if r.Nodes > 1 {
			row.Link = a.link(map[string]string{"skip": strconv.Itoa(r.Skip), "nodes": strconv.Itoa(r.Nodes)})
		}
		if t.Heat != nil {
			row.Groups = heatBoxes(t.Heat[i], t.Since.Sub(a.base).Seconds(), t.Until.Sub(t.Since).Seconds()/float64(max(1, len(t.Heat[i]))))
		} else {
			row.Groups = spanBoxes(spans[i], max(1, r.Cores), a.base, a.width, a.moving)
		}
		v.Rows = append(v.Rows, row)
	}
	if a.nodes > 0 && len(t.Rows) > 0 {
		v.Part = fmt.Sprintf("%d of %d nodes", len(t.Rows), t.Nodes)
		v.Whole = a.link(map[string]string{"skip": "", "nodes": ""})
	}
	return v
}

// rowClass is the height of a row, in CSS pixels, of those that the style sheet has.
func rowClass(rows int) int {
	for _, h := range []int{26, 18, 12} {
		if rows*h <= chartHeight {
			return h
		}
	}
	return 8
}

func hueOf(id job.ID) int { return int(id % hues) }

// spanBoxes lays a node's spans out in lanes, one for each core.
func spanBoxes(spans []job.Span, cores int, base time.Time, width time.Duration, moving bool) (groups []spanGroup) {
	free := make([]float64, cores) // when each lane is
	slack := width.Seconds() / 500
	for _, s := range spans {
		from, to := s.Start.Sub(base).Seconds(), s.End.Sub(base).Seconds()
		lanes := lanesOf(s, cores)
		at := laneFor(free, lanes, from+slack)
		for i := at; i < at+lanes; i++ {
			free[i] = to
		}
		b := box{Class: spanClass(s), X: decimal(from), Y: decimal(100 * float64(at) / float64(cores)), H: decimal(100 * float64(lanes) / float64(cores)),
			W: decimal(max(to-from, width.Seconds()/1000)), Title: spanTitle(s)}
		if s.State == job.Running && moving { // it goes on beyond the edge, so that it need not be drawn anew
			b.W = decimal(max(10*width.Seconds(), to-from))
		}
		if n := len(groups); n == 0 || groups[n-1].Job != s.Job {
			groups = append(groups, spanGroup{Job: s.Job})
		}
		last := &groups[len(groups)-1]
		last.Spans = append(last.Spans, b)
	}
	return groups
}

// lanesOf is how many cores a span kept busy, at least one.
func lanesOf(s job.Span, cores int) int {
	lanes := max(1, s.CPUs)
	if took := s.End.Sub(s.Start); s.N > 1 && took > 0 {
		lanes = max(lanes, int(float64(s.Busy)/float64(took)*float64(max(1, s.CPUs))+0.99))
	}
	return min(lanes, cores)
}

// laneFor is the first of so many lanes side by side that are free at a time, or that are first.
func laneFor(free []float64, lanes int, at float64) int {
	best, when := 0, 0.0
	for i := 0; i+lanes <= len(free); i++ {
		until := slices.Max(free[i : i+lanes])
		if until <= at {
			return i
		}
		if i == 0 || until < when {
			best, when = i, until
		}
	}
	return best
}

func spanClass(s job.Span) string {
	switch s.State {
	case job.Failed:
		return "failed"
	case job.Cancelled:
		return "cancelled"
	case job.Running:
		return fmt.Sprintf("h%d runs", hueOf(s.Job))
	}
	return fmt.Sprintf("h%d", hueOf(s.Job))
}

func spanTitle(s job.Span) string {
	what := fmt.Sprintf("job %d task %d", s.Job, s.First)
	if s.N > 1 {
		what = fmt.Sprintf("job %d, %d tasks of %d-%d", s.Job, s.N, s.First, s.Last)
	}
	if s.State == job.Running {
		return what + ", running"
	}
	return fmt.Sprintf("%s, %s, %s", what, s.State, term.Duration(s.End.Sub(s.Start).Round(10*time.Millisecond)))
}

// heatBoxes draws how busy a row was, from x on, in columns of so many seconds; neighbours alike are one.
func heatBoxes(heat []int, x, step float64) []spanGroup {
	var g spanGroup
	for i := 0; i < len(heat); {
		k, level := i+1, heatLevel(heat[i])
		for k < len(heat) && heatLevel(heat[k]) == level {
			k++
		}
		if level > 0 {
			g.Spans = append(g.Spans, box{Class: fmt.Sprintf("q%d", level), X: decimal(x + float64(i)*step), W: decimal(float64(k-i) * step), Y: "0", H: "100"})
		}
		i = k
	}
	return []spanGroup{g}
}

// heatLevel is a share in per mille in ten steps, 0 for none.
func heatLevel(share int) int { return min(10, (share+99)/100) }

func decimal(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
}

// ticksOf names five moments from left to right.
func ticksOf(width time.Duration, moving bool) (names []string) {
	for i := range 5 {
		back := width * time.Duration(4-i) / 4
		switch {
		case moving && i == 4:
			names = append(names, "now")
		case moving:
			names = append(names, "−"+term.Duration(back.Round(time.Second)))
		case i == 0:
			names = append(names, "0")
		default:
			names = append(names, "+"+term.Duration((width-back).Round(time.Second/10)))
		}
	}
	return names
}

// readTimeline asks for a timeline and draws it.
func readTimeline(ctx context.Context, v visitor, a timelineAsk) (timelineView, error) {
	now := time.Now()
	t, err := v.jobs.Timeline(ctx, a.request(now))
	if err != nil {
		return timelineView{}, err
	}
	view := timelineViewOf(t, a, now)
	if a.moving {
		q := url.Values{"base": {strconv.FormatInt(a.base.Unix(), 10)}}
		for name, values := range a.query {
			q[name] = values
		}
		view.Live = "/jobs/timeline/live?" + q.Encode()
	}
	for _, name := range windows() {
		d, _ := term.ParseDuration(name)
		view.Windows = append(view.Windows, window{name, a.link(map[string]string{"window": name}), d == a.width})
	}
	return view, nil
}

// timelineLive streams the rows that change, of all jobs or of one.
func (s *Server) timelineLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	a := askTimeline(r, "/jobs")
	if id, err := strconv.ParseInt(r.FormValue("job"), 10, 64); err == nil && id > 0 {
		a.job, a.path = job.ID(id), fmt.Sprintf("/jobs/%d", id)
	}
	every := min(5*time.Second, max(time.Second, a.width/600))
	return s.frames(w, r, v, every, func(ctx context.Context) (list []fragment, done bool, err error) {
		view, err := readTimeline(ctx, v, a)
		if err != nil {
			return nil, false, err
		}
		for _, row := range view.Rows {
			row.Box = "" // the browser moves it
			f, err := s.fragment("jobs", "timeline-row", row.ID, "timeline-rows", row)
			if err != nil {
				return nil, false, err
			}
			list = append(list, f)
		}
		f, err := s.fragment("jobs", "timeline-chips", "timeline-chips", "", view)
		return append(list, f), false, err
	})
}
