package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"bramble/fault"
	"bramble/job"
	"bramble/term"
	"bramble/trust"
)

// submission is a job as programs hand it in: a Spec whose lengths of time, sizes and script may be text for people.
type submission struct {
	job.Spec
	Script       script    `json:"script"`
	Memory       size      `json:"memory"`
	MemoryPerCPU size      `json:"memory_per_cpu"`
	Timeout      duration  `json:"timeout"`
	Patience     *duration `json:"patience"`
	SignalBefore duration  `json:"signal_before"`
}

// script is its text, which begins with #!, or that in base64.
type script []byte

func (s *script) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil && len(text) > 1 && text[:2] == "#!" {
		*s = []byte(text)
		return nil
	}
	return json.Unmarshal(data, (*[]byte)(s))
}

// size is a number of bytes, or a text such as "512M".
type size int64

func (s *size) UnmarshalJSON(data []byte) error {
	return eitherWay(data, (*int64)(s), term.ParseBytes)
}

// duration is a number of nanoseconds, or a text such as "10m".
type duration time.Duration

func (d *duration) UnmarshalJSON(data []byte) error {
	return eitherWay(data, (*time.Duration)(d), term.ParseDuration)
}

// eitherWay reads a number, or a text that parse understands.
func eitherWay[T any](data []byte, to *T, parse func(string) (T, error)) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		return json.Unmarshal(data, to)
	}
	value, err := parse(text)
	*to = value
	return err
}

func (s *submission) spec() job.Spec {
	spec := s.Spec
	spec.Script, spec.Memory, spec.MemoryPerCPU = s.Script, int64(s.Memory), int64(s.MemoryPerCPU)
	spec.Timeout, spec.SignalBefore = time.Duration(s.Timeout), time.Duration(s.SignalBefore)
	if spec.Patience = job.DefaultPatience; s.Patience != nil {
		spec.Patience = time.Duration(*s.Patience)
	}
	return spec
}

// readJSON reads a request's body, which has nothing in it that v does not know.
func readJSON(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fault.New(fault.Misused, "this is not what is expected here: %w", err).Hint("/api, which describes it")
	}
	return nil
}

func (s *Server) apiSubmit(w http.ResponseWriter, r *http.Request, v visitor) error {
	var sub submission
	if err := readJSON(r, &sub); err != nil {
		return err
	}
	id, err := v.jobs.Submit(r.Context(), sub.spec())
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/api/v1/jobs/%d", id))
	return writeJSON(w, http.StatusCreated, map[string]job.ID{"job": id})
}

// listRequest reads which jobs a request is about.
func listRequest(r *http.Request, limit int) (job.ListRequest, error) {
	req := job.ListRequest{Open: r.FormValue("open") == "1", Ended: r.FormValue("ended") == "1",
		User: r.FormValue("user"), Name: r.FormValue("name"), Limit: limit}
	if n, err := strconv.Atoi(r.FormValue("limit")); err == nil && n > 0 {
		req.Limit = min(n, 10_000)
	}
	var err error
	req.Since, err = moment(r, "since")
	return req, err
}

// moment reads a point in time, or how long ago it was; zero for none.
func moment(r *http.Request, name string) (time.Time, error) {
	text := r.FormValue(name)
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	ago, err := term.ParseDuration(text)
	if err != nil || ago < 0 {
		return time.Time{}, fault.New(fault.Misused, "%s=%.40q is no moment", name, text).Hint("%s=10m for ten minutes ago, or %s=2026-01-02T15:04:05Z", name, name)
	}
	return time.Now().Add(-ago), nil
}

func (s *Server) apiJobs(w http.ResponseWriter, r *http.Request, v visitor) error {
	req, err := listRequest(r, 100)
	if err != nil {
		return err
	}
	list, err := summaries(r.Context(), v, req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}

// apiHistory answers the jobs that have ended.
func (s *Server) apiHistory(w http.ResponseWriter, r *http.Request, v visitor) error {
	req, err := listRequest(r, 100)
	if err != nil {
		return err
	}
	req.Open, req.Ended = false, true
	list, err := summaries(r.Context(), v, req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}

func (s *Server) apiJob(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, _, err := jobOf(r)
	if err != nil {
		return err
	}
	d, err := v.jobs.Job(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v.veiled(d))
}

// veiled leaves out of a job what is only for its owner and for admins.
func (v visitor) veiled(d job.Detail) job.Detail {
	if !v.owns(d.Spec) {
		d.Spec.Script, d.Spec.Env = nil, nil
	}
	return d
}

// owns reports whether a job is the person's own, or the person is an admin.
func (v visitor) owns(spec job.Spec) bool {
	return v.Identity.Role == trust.Admin || spec.User == v.Identity.Name
}

// apiWait answers when a job has ended, or when the caller should ask again.
func (s *Server) apiWait(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, _, err := jobOf(r)
	if err != nil {
		return err
	}
	if err := s.streams.take(v.id); err != nil {
		return err
	}
	defer s.streams.release(v.id)
	patience := 25 * time.Second
	if text := r.FormValue("timeout"); text != "" {
		if patience, err = term.ParseDuration(text); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(max(patience, 0), maxWait))
	defer cancel()
	var last job.Summary
	for sum, err := range v.jobs.Watch(ctx, id) {
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			last = sum
		}
	}
	if last.ID == 0 {
		return fault.New(fault.Unreachable, "the head did not answer in time").Hint("ask again")
	}
	return writeJSON(w, http.StatusOK, last)
}

// apiChange answers what is done to a job.
func (s *Server) apiChange(do func(r *http.Request, v visitor, id job.ID) (job.Summary, error)) page {
	return func(w http.ResponseWriter, r *http.Request, v visitor) error {
		id, _, err := jobOf(r)
		if err != nil {
			return err
		}
		sum, err := do(r, v, id)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, sum)
	}
}

func cancelJob(r *http.Request, v visitor, id job.ID) (job.Summary, error) {
	return v.jobs.Cancel(r.Context(), id)
}

func holdJob(r *http.Request, v visitor, id job.ID) (job.Summary, error) {
	return v.jobs.Hold(r.Context(), id)
}

func releaseJob(r *http.Request, v visitor, id job.ID) (job.Summary, error) {
	return v.jobs.Release(r.Context(), id)
}

func requeueJob(r *http.Request, v visitor, id job.ID) (job.Summary, error) {
	_, task, err := jobOf(r)
	if err != nil {
		return job.Summary{}, err
	}
	if task < 0 {
		return v.jobs.Requeue(r.Context(), id, nil)
	}
	return v.jobs.Requeue(r.Context(), id, &task)
}

func alterJob(r *http.Request, v visitor, id job.ID) (job.Summary, error) {
	var set struct {
		job.Alteration
		Timeout *duration `json:"timeout"`
	}
	if err := readJSON(r, &set); err != nil {
		return job.Summary{}, err
	}
	set.Alteration.Timeout = (*time.Duration)(set.Timeout)
	return v.jobs.Alter(r.Context(), id, set.Alteration)
}

func (s *Server) apiGrid(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, _, err := jobOf(r)
	if err != nil {
		return err
	}
	cells, _ := strconv.Atoi(r.FormValue("cells"))
	g, err := v.jobs.Grid(r.Context(), id, cells)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, g)
}

// timelineRequest reads which part of who ran where a request is about.
func timelineRequest(r *http.Request) (req job.TimelineRequest, err error) {
	if req.Since, err = moment(r, "since"); err != nil {
		return req, err
	}
	if req.Until, err = moment(r, "until"); err != nil {
		return req, err
	}
	id, _ := strconv.ParseInt(r.FormValue("job"), 10, 64)
	req.Job = job.ID(id)
	for name, n := range map[string]*int{"skip": &req.Skip, "nodes": &req.Nodes, "rows": &req.Rows, "most": &req.Most, "columns": &req.Columns} {
		*n, _ = strconv.Atoi(r.FormValue(name))
		*n = max(0, *n)
	}
	return req, nil
}

func (s *Server) apiTimeline(w http.ResponseWriter, r *http.Request, v visitor) error {
	req, err := timelineRequest(r)
	if err != nil {
		return err
	}
	t, err := v.jobs.Timeline(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t)
}

func (s *Server) apiThroughput(w http.ResponseWriter, r *http.Request, v visitor) error {
	t, err := v.jobs.Throughput(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t)
}

func (s *Server) apiUses(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := v.jobs.Uses(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}

func (s *Server) apiPartitions(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := v.jobs.Partitions(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}

func (s *Server) apiLoads(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, err := v.jobs.Loads(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(list))
}
