package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"

	"bramble/fault"
	"bramble/job"
)

// endpoint is one address of the JSON API, as it is served and as /api describes it.
type endpoint struct {
	Method, Path string
	Text         string // what it answers
	Params       []param
	Try          string // path and query of the example
	answer       page
}

type param struct{ Name, Text string }

func (s *Server) endpoints() []endpoint {
	on := param{"on", "which nodes, as --on says it: all, node[01-16], model=pi4, a label"}
	return []endpoint{
		{"GET", "/api/v1/nodes", "All nodes, or those of a selection.", []param{on}, "/api/v1/nodes?on=all", s.apiNodes},
		{"GET", "/api/v1/nodes/{name}", "One node.", nil, "/api/v1/nodes/node1", s.apiNode},
		{"GET", "/api/v1/events", "Events, oldest first.", []param{{"after", "only those with a greater seq"},
			{"limit", "at most the newest so many; 100 without, 4096 at most"}, {"room", "fleet, fan, job …"},
			{"node", "only those about one node"}, {"user", "only what one person asked for"}}, "/api/v1/events?limit=20", s.apiEvents},
		{"GET", "/api/v1/jobs", "Jobs, newest first.", []param{{"open", "1: only those that have not ended"},
			{"limit", "at most the newest so many; 100 without"}}, "/api/v1/jobs?open=1", s.apiJobs},
		{"GET", "/api/v1/jobs/{id}", "One job with its tasks by state.", nil, "/api/v1/jobs/1", s.apiJob},
		{"GET", "/api/v1/jobs/{id}/output", "What a task has written so far: a list of pieces, data in base64.",
			[]param{{"task", "the task's index"}}, "/api/v1/jobs/1/output?task=1", s.apiOutput},
		{"POST", "/api/v1/jobs/{id}/cancel", "Ends a job; needs the role operator.", nil, "/api/v1/jobs/1/cancel", s.apiCancel},
	}
}

// apiView is the page that describes the API.
type apiView struct {
	Endpoints []endpoint
	URL       string
}

func (s *Server) apiPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	s.show(w, r, http.StatusOK, "api", &v, "API", apiView{s.endpoints(), s.URL})
	return nil
}

// writeJSON answers with v, indented, since people read it too.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b.Bytes())
	return nil
}

func (s *Server) apiNodes(w http.ResponseWriter, r *http.Request, v visitor) error {
	nodes, err := v.cluster.Fleet.Select(r.Context(), r.FormValue("on"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, nodes)
}

func (s *Server) apiNode(w http.ResponseWriter, r *http.Request, _ visitor) error {
	view, err := s.nodeView(r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, view.Node)
}

func (s *Server) apiEvents(w http.ResponseWriter, r *http.Request, v visitor) error {
	list, _, err := newest(r.Context(), v, eventFilter(r, 100))
	if err != nil {
		return err
	}
	slices.Reverse(list)
	return writeJSON(w, http.StatusOK, listOf(list))
}

// listOf writes no elements as [], not null.
func listOf[T any](list []T) []T { return append([]T{}, list...) }

func (s *Server) apiJobs(w http.ResponseWriter, r *http.Request, v visitor) error {
	f := eventFilter(r, 100)
	list, err := summaries(r.Context(), v, job.ListRequest{Open: r.FormValue("open") == "1", Limit: f.Limit})
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
	return writeJSON(w, http.StatusOK, d)
}

// maxOutput is how many bytes of output one answer of the API holds.
const maxOutput = 8 << 20

func (s *Server) apiOutput(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, task, err := jobOf(r)
	if err != nil {
		return err
	}
	list, size := []job.Line{}, 0
	for line, err := range v.jobs.Logs(r.Context(), job.LogRequest{ID: id, Index: max(0, task)}) {
		if err != nil {
			return err
		}
		if size += len(line.Data); size > maxOutput {
			return fault.New(fault.Full, "task %d of job %d has written more than %d bytes", task, id, maxOutput).Hint("bramble logs %d", id)
		}
		list = append(list, line)
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *Server) apiCancel(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, _, err := jobOf(r)
	if err != nil {
		return err
	}
	sum, err := v.jobs.Cancel(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, sum)
}
