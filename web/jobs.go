package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"bramble/job"
	"bramble/sorts"
	"bramble/term"
)

const (
	pageJobs = 100         // on the Jobs page: the newest
	jobEvery = time.Second // how often a live page asks about jobs
)

// jobRow is a job among others.
type jobRow struct {
	job.Summary
	Progress progress
	Took     string
	Hue      int
}

// jobsView is the Jobs page.
type jobsView struct {
	Rows     []jobRow
	Pulse    pulse
	Timeline timelineView
	Uses     []job.Use
	Show     string // open, all or ended
	User     string
	Name     string
	Live     string
	Chosen   bool // not all are shown
}

// pulse is how the whole queue goes.
type pulse struct {
	job.Throughput
	Rate       string // tasks a second, lately
	Recent     int    // tasks that ended in the last ten minutes
	Failures   int
	Share      int // of the cores, in per cent
	Top        string
	Area, Line string // SVG paths
	Bad        string
	Width      int
}

const (
	pulseStep  = 5 // seconds that a point of the line stands for
	pulseLeast = 1 // tasks a second that the scale shows at least
)

func pulseOf(t job.Throughput) pulse {
	done, failed := binned(t.Done, t.Until), binned(t.Failed, t.Until)
	all := make([]float32, len(done))
	p := pulse{Throughput: t, Width: max(1, len(done)-1)}
	for i := range done {
		all[i] = done[i] + failed[i]
	}
	for i := range t.Done {
		p.Recent, p.Failures = p.Recent+t.Done[i]+t.Failed[i], p.Failures+t.Failed[i]
	}
	top := ceiling(pulseLeast, all)
	p.Area, p.Line, p.Bad = area(all, 0, top), line(all, 0, top), ""
	if p.Failures > 0 {
		p.Bad = area(failed, 0, top)
	}
	p.Top = rateText(top)
	last := 0
	for i := max(0, len(t.Done)-10); i < len(t.Done); i++ {
		last += t.Done[i] + t.Failed[i]
	}
	p.Rate = rateText(float64(last) / 10)
	if t.Cores > 0 {
		p.Share = 100 * t.Used / t.Cores
	}
	return p
}

// binned is the mean a second of each whole stretch of pulseStep seconds; stretches lie on the clock, so that a point
// keeps its value.
func binned(counts []int, until time.Time) (list []float32) {
	skip := int(until.Unix()) % pulseStep
	counts = counts[:max(0, len(counts)-skip)]
	counts = counts[len(counts)%pulseStep:]
	for part := range slices.Chunk(counts, pulseStep) {
		sum := 0
		for _, n := range part {
			sum += n
		}
		list = append(list, float32(sum)/pulseStep)
	}
	return list
}

func rateText(perSecond float64) string {
	switch {
	case perSecond >= 100:
		return term.Count(int64(perSecond + 0.5))
	case perSecond >= 10 || perSecond == float64(int(perSecond)):
		return fmt.Sprintf("%.0f", perSecond)
	}
	return fmt.Sprintf("%.1f", perSecond)
}

func rowOf(sum job.Summary, now time.Time) jobRow {
	return jobRow{sum, progressOf(sum), took(sum, now), hueOf(sum.ID)}
}

// summaries is the newest jobs, the newest first.
func summaries(ctx context.Context, v visitor, req job.ListRequest) (list []job.Summary, err error) {
	for sum, err := range v.jobs.List(ctx, req) {
		if err != nil {
			return nil, err
		}
		list = append(list, sum)
	}
	sorts.By(list, func(a, b job.Summary) int { return cmp.Compare(b.ID, a.ID) })
	return list, nil
}

// chosen reads which jobs the page shows.
func chosen(r *http.Request) (req job.ListRequest, show string) {
	req = job.ListRequest{Limit: pageJobs, User: r.FormValue("user"), Name: r.FormValue("name")}
	switch show = r.FormValue("show"); show {
	case "open":
		req.Open = true
	case "ended":
		req.Ended = true
	default:
		show = "all"
	}
	return req, show
}

func (s *Server) jobsPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	req, show := chosen(r)
	list, err := summaries(r.Context(), v, req)
	if err != nil {
		return err
	}
	t, err := v.jobs.Throughput(r.Context())
	if err != nil {
		return err
	}
	a := askTimeline(r, "/jobs")
	view := jobsView{Pulse: pulseOf(t), Show: show, User: req.User, Name: req.Name, Chosen: show != "all" || req.User != "" || req.Name != ""}
	if view.Timeline, err = readTimeline(r.Context(), v, a); err != nil {
		return err
	}
	if view.Uses, err = v.jobs.Uses(r.Context()); err != nil {
		return err
	}
	view.Uses = view.Uses[:min(10, len(view.Uses))]
	view.Live = "/jobs/live?" + url.Values{"show": {show}, "user": {req.User}, "name": {req.Name}}.Encode()
	for _, sum := range list {
		view.Rows = append(view.Rows, rowOf(sum, time.Now()))
	}
	s.show(w, r, http.StatusOK, "jobs", &v, "Jobs", view)
	return nil
}

func (s *Server) jobsLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	req, _ := chosen(r)
	return s.frames(w, r, v, jobEvery, func(ctx context.Context) (rows []fragment, done bool, err error) {
		list, err := summaries(ctx, v, req)
		if err != nil {
			return nil, false, err
		}
		t, err := v.jobs.Throughput(ctx)
		if err != nil {
			return nil, false, err
		}
		f, err := s.fragment("jobs", "pulse", "pulse", "", pulseOf(t))
		if err != nil {
			return nil, false, err
		}
		rows = append(rows, f)
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
