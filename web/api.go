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
	Body         string // of the example; @FILE for a file's content
	answer       page
}

type param struct{ Name, Text string }

func (s *Server) endpoints() []endpoint {
	on := param{"on", "which nodes, as --on says it: all, node[01-16], model=pi4, a label"}
	limit := param{"limit", "at most the newest so many; 100 without"}
	since := param{"since", "a moment such as 2026-01-02T15:04:05Z, or how long ago, such as 10m"}
	follow := param{"follow", "1: go on until the job has ended"}
	return []endpoint{
		{"GET", "/api/v1/nodes", "All nodes, or those of a selection.", []param{on}, "/api/v1/nodes?on=all", "", s.apiNodes},
		{"GET", "/api/v1/nodes/{name}", "One node.", nil, "/api/v1/nodes/node1", "", s.apiNode},
		{"GET", "/api/v1/events", "Events, oldest first.", []param{{"after", "only those with a greater seq"},
			{"limit", "at most the newest so many; 100 without, 4096 at most"}, {"room", "fleet, fan, job …"},
			{"node", "only those about one node"}, {"user", "only what one person asked for"}}, "/api/v1/events?limit=20", "", s.apiEvents},

		{"POST", "/api/v1/jobs", "Submits a job; needs the role operator. The body is what a job's spec is in other answers: args or script, array, cpus, memory, timeout, env, on, name, retries, inputs, return, depend and the rest. Sizes may be text such as 512M, lengths of time such as 10m (numbers are bytes and nanoseconds), and script its text from #! on. With a token of your own making, what comes twice is one job. The answer has the job's number, and the job is on disk.",
			nil, "/api/v1/jobs", `{"args": ["sh", "-c", "echo $BRAMBLE_TASK_ID"], "array": "1-100", "timeout": "10m"}`, s.apiSubmit},
		{"GET", "/api/v1/jobs", "Jobs, newest first.", []param{{"open", "1: only those that have not ended"}, {"ended", "1: only those that have"},
			{"user", "only one person's"}, {"name", "only those of this name"}, {"since", "only those that were open then or later: " + since.Text}, limit}, "/api/v1/jobs?open=1", "", s.apiJobs},
		{"GET", "/api/v1/jobs/{id}", "One job with its tasks by state. Its script and environment are for its owner and for admins.", nil, "/api/v1/jobs/1", "", s.apiJob},
		{"PATCH", "/api/v1/jobs/{id}", "Changes what was asked for: nice, timeout, begin, name, comment.", nil, "/api/v1/jobs/1", `{"nice": 60}`, s.apiChange(alterJob)},
		{"GET", "/api/v1/jobs/{id}/wait", "Answers as soon as the job has ended, with its summary; after the timeout with how it stands, so that one asks again.",
			[]param{{"timeout", "such as 25s, which is the usual; 50s at most"}}, "/api/v1/jobs/1/wait", "", s.apiWait},
		{"GET", "/api/v1/jobs/{id}/results", "A line of JSON for each task that has ended, as soon as it is known, in that order: index, state, ok, code, stdout and stderr up to 64 KiB each, and returns, the tree of files that came back. Bytes that are no UTF-8 come in base64, as stdout_base64. Skip empty lines; a last line with the field error says that the answer is not complete.",
			[]param{follow, {"had", "indices to leave out, such as 1-40,44, for who asks again"}, {"output", "0: without stdout and stderr"}}, "/api/v1/jobs/1/results?follow=1", "", s.apiResults},
		{"GET", "/api/v1/jobs/{id}/logs", "A line of JSON for each piece of output, text or base64, of one task or of all.", []param{{"task", "the task's index; all tasks without"}, follow}, "/api/v1/jobs/1/logs?follow=1", "", s.apiLogs},
		{"GET", "/api/v1/jobs/{id}/output", "What a task has written so far: a list of pieces, data in base64.",
			[]param{{"task", "the task's index"}}, "/api/v1/jobs/1/output?task=1", "", s.apiOutput},
		{"GET", "/api/v1/jobs/{id}/grid", "How the tasks stand, by index: a cell each, or for as many as make few enough cells.", []param{{"cells", "at most so many; 2000 without"}}, "/api/v1/jobs/1/grid?cells=100", "", s.apiGrid},
		{"POST", "/api/v1/jobs/{id}/cancel", "Ends a job; needs the role operator.", nil, "/api/v1/jobs/1/cancel", "", s.apiChange(cancelJob)},
		{"POST", "/api/v1/jobs/{id}/hold", "Keeps what has not started of a job from starting.", nil, "/api/v1/jobs/1/hold", "", s.apiChange(holdJob)},
		{"POST", "/api/v1/jobs/{id}/release", "Lets a held job start.", nil, "/api/v1/jobs/1/release", "", s.apiChange(releaseJob)},
		{"POST", "/api/v1/jobs/{id}/requeue", "Takes what runs of a job from its nodes; it waits again.", []param{{"task", "only this task"}}, "/api/v1/jobs/1/requeue", "", s.apiChange(requeueJob)},
		{"GET", "/api/v1/history", "Jobs that have ended, newest first.", []param{{"user", "only one person's"}, {"name", "only those of this name"}, since, limit}, "/api/v1/history?since=1d", "", s.apiHistory},

		{"GET", "/api/v1/timeline", "Who ran where: rows of nodes, and spans of attempts; short ones that follow each other are told together. More nodes than rows share rows, with how busy they were instead of spans.",
			[]param{since, {"until", "the same; now without"}, {"job", "only this one"}, {"skip", "leave out so many nodes"}, {"nodes", "at most so many"},
				{"rows", "at most so many; 48 without"}, {"most", "at most so many spans"}}, "/api/v1/timeline?since=10m", "", s.apiTimeline},
		{"GET", "/api/v1/throughput", "Tasks that became final in each second of the last ten minutes.", nil, "/api/v1/throughput", "", s.apiThroughput},
		{"GET", "/api/v1/loads", "What each node does: cores and memory in use, attempts that run and wait.", nil, "/api/v1/loads", "", s.apiLoads},
		{"GET", "/api/v1/uses", "Who has used how much lately, and how far behind that puts their jobs.", nil, "/api/v1/uses", "", s.apiUses},
		{"GET", "/api/v1/partitions", "The partitions and their limits.", nil, "/api/v1/partitions", "", s.apiPartitions},

		{"GET", "/api/v1/spreads", "What is on its way to nodes, the latest first, and then what lately was: kind (push, pull, put, mend, site, job), what, user, bytes, and of all nodes and of each how far it is, at what rate, and the seconds left. Of one that has ended, nodes are those that failed.",
			[]param{{"follow", "1: a line of JSON for each, and from then on for each that changes"}}, "/api/v1/spreads", "", s.apiSpreads},
		{"GET", "/api/v1/durables", "What nodes keep by name.", nil, "/api/v1/durables", "", s.apiDurables},
		{"GET", "/api/v1/durables/health", "How safe that is: a standing for each name, its copies counted at the nodes, and a last element with what would be lost with which node.", nil, "/api/v1/durables/health", "", s.apiDoctor},
		{"GET", "/api/v1/stores", "What each node's store holds, and the head's own; those that do not answer within ten seconds have an end that says so.", nil, "/api/v1/stores", "", s.apiStores},

		{"GET", "/api/v1/sites", "The sites, each with its releases and which of them is live.", nil, "/api/v1/sites", "", s.apiSites},
		{"GET", "/api/v1/sites/{name}", "One site, and how it stands on each of its nodes: state (live, behind, failed, away, new), release, address.", nil, "/api/v1/sites/blog", "", s.apiSite},
		{"GET", "/api/v1/sites/{name}/diff", "What differs between two releases: path, what (added, changed, removed), size.",
			[]param{{"a", "a release, by the beginning of its id; the one before b without"}, {"b", "another; the live one without"}}, "/api/v1/sites/blog/diff", "", s.apiSiteDiff},
		{"POST", "/api/v1/sites/{name}/rollback", "Makes an earlier release live again, on all nodes at one moment; needs the role operator. The answer is the last event: finished, with the site, and behind, the nodes that follow.",
			[]param{{"to", "the release, by the beginning of its id"}}, "/api/v1/sites/blog/rollback?to=ID", "", s.apiRollback},

		{"GET", "/api/v1/fronts", "The fronts: front is what each should do, nodes where visitors come in, and how the members of its pools do as seen from there.", nil, "/api/v1/fronts", "", s.apiFronts},
		{"GET", "/api/v1/fronts/{name}", "One front.", nil, "/api/v1/fronts/front", "", s.apiFront},
		{"POST", "/api/v1/fronts/{name}/change", "Changes a member, by its name: weight (1 to 100), mode (drain, disabled, stopped, or empty for enabled) or route; needs the role operator, and an address from where the front may be managed. The answer is the front as it is then.",
			nil, "/api/v1/fronts/front/change", `{"member": "node1", "weight": 2}`, s.apiFrontChange},

		{"POST", "/api/v1/trees", "Stores the files of a tar and answers a ref, for inputs of a job: they become its tasks' folder. Needs the role operator. What no job holds is kept for an hour.", nil, "/api/v1/trees", "@files.tar", s.exchange(s.apiPack)},
		{"GET", "/api/v1/trees/{ref}", "The files of a tree as a tar; such as what a task returned.", nil, "/api/v1/trees/REF", "", s.exchange(s.apiUnpack)},
		{"POST", "/api/v1/blobs/missing", "For programs that send only what is not there: a list of at most 10,000 SHA-256 hashes; the answer is those that are not here.", nil, "/api/v1/blobs/missing", `["HASH"]`, s.exchange(s.apiBlobs)},
		{"PUT", "/api/v1/blobs/{ref}", "Stores one file under its SHA-256. A tree is a file too: {\"entries\": [{\"path\", \"mode\", \"size\", \"ref\"}…]} in the order of paths, folders with mode 2147484141, and its hash is what inputs takes. An upload that broke goes on with the header Bramble-Offset where HEAD says it stopped, in Bramble-Have.", nil, "/api/v1/blobs/HASH", "@FILE", s.exchange(s.apiBlobs)},
		{"GET", "/api/v1/blobs/{ref}", "One file by its SHA-256.", nil, "/api/v1/blobs/HASH", "", s.exchange(s.apiBlobs)},
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
