package web_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"bramble/fault"
	"bramble/job"
	"bramble/trust"
)

// Submit keeps what was handed in.
func (j jobsOf) Submit(_ context.Context, spec job.Spec) (job.ID, error) {
	if !j.who.Role.Includes(trust.Operator) {
		return 0, fault.New(fault.Denied, "%s may not submit", j.who)
	}
	spec.User = j.who.Name
	j.set(job.Detail{Summary: job.Summary{ID: 70, Spec: spec, State: job.Pending}})
	return 70, nil
}

func (j jobsOf) Watch(ctx context.Context, id job.ID) iter.Seq2[job.Summary, error] {
	return func(yield func(job.Summary, error) bool) {
		for {
			j.mu.Lock()
			sum, changed := j.list[id].Summary, j.changed
			j.mu.Unlock()
			if !yield(sum, nil) || !sum.Ended.IsZero() {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Endings tells of each piece of output as if its task had ended with it.
func (j jobsOf) Endings(ctx context.Context, req job.EndingsRequest) iter.Seq2[job.Ending, error] {
	return func(yield func(job.Ending, error) bool) {
		for line, err := range j.Logs(ctx, job.LogRequest{ID: req.ID, Follow: req.Follow}) {
			if !yield(job.Ending{Index: line.Attempt, State: job.Done, Stdout: line.Data, OutSize: int64(len(line.Data))}, err) {
				return
			}
		}
		if !req.Follow {
			yield(job.Ending{}, fault.New(fault.Unreachable, "the head went away"))
		}
	}
}

func (p *person) send(method, path, kind string, body io.Reader) (int, string) {
	p.t.Helper()
	r, _ := http.NewRequest(method, p.url+path, body)
	r.Header.Set("Content-Type", kind)
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data)
}

func TestAPISubmit(t *testing.T) {
	h := open(t)
	p, viewer := h.as("ann", trust.Operator), h.as("vic", trust.Viewer)
	status, body := p.send("POST", "/api/v1/jobs", "application/json", strings.NewReader(
		`{"script": "#!/bin/sh\necho hi\n", "array": "1-9", "memory": "512M", "timeout": "10m", "env": ["A=b"], "user": "root", "token": "x"}`))
	if status != http.StatusCreated || !strings.Contains(body, `"job": 70`) {
		t.Fatalf("%d %s", status, body)
	}
	spec := h.jobs.list[70].Spec
	if string(spec.Script) != "#!/bin/sh\necho hi\n" || spec.Memory != 512<<20 || spec.Timeout != 10*time.Minute || spec.Patience != job.DefaultPatience || spec.User != "ann" || spec.Token != "x" {
		t.Errorf("submitted %+v", spec)
	}
	if _, body := viewer.get("/api/v1/jobs/70"); strings.Contains(body, "A=b") || strings.Contains(body, "IyEvYmlu") || !strings.Contains(body, `"1-9"`) {
		t.Errorf("a viewer sees %s", body)
	}
	if _, body := p.get("/api/v1/jobs/70"); !strings.Contains(body, "IyEvYmlu") {
		t.Errorf("the owner sees %s", body)
	}
	for body, want := range map[string]int{
		`{"argz": ["true"]}`:                    http.StatusBadRequest,
		`{"args": ["true"], "timeout": "soon"}`: http.StatusBadRequest,
		`{`:                                     http.StatusBadRequest,
		`{"name": "` + strings.Repeat("x", 3<<20) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		if status, answer := p.send("POST", "/api/v1/jobs", "application/json", strings.NewReader(body)); status != want {
			t.Errorf("%.40s: %d %s", body, status, answer)
		}
	}
	if status, _ := viewer.send("POST", "/api/v1/jobs", "application/json", strings.NewReader(`{"args":["true"]}`)); status != http.StatusForbidden {
		t.Errorf("a viewer submits: %d", status)
	}
}

func TestAPIResults(t *testing.T) {
	h := open(t)
	h.jobs.set(array(1, 3, job.Spec{User: "ann", Args: []string{"true"}}))
	p := h.as("ann", trust.Operator)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", h.url+"/api/v1/jobs/1/results?follow=1", nil)
	h.jobs.write(1, job.Line{Attempt: 1, Data: []byte("one\n")})
	resp, err := p.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i, want := range []string{`"stdout":"one\n"`, `"stdout_base64":"//4="`} {
		if i == 1 { // it comes while the answer is being read
			h.jobs.write(1, job.Line{Attempt: 2, Data: []byte{0xff, 0xfe}})
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), want) || !strings.Contains(lines.Text(), fmt.Sprintf(`{"index":%d,"state":"done","ok":true,"code":0`, i+1)) {
			t.Fatalf("line %d: %s", i, lines.Text())
		}
	}
	cancel()
	if _, body := p.get("/api/v1/jobs/1/results"); !strings.HasSuffix(strings.TrimSpace(body), `{"error":{"code":"unreachable","text":"the head went away"}}`) {
		t.Errorf("an answer that is not complete: %s", body)
	}
	if status, body := h.as("vic", trust.Viewer).get("/api/v1/jobs/1/results"); status != http.StatusForbidden {
		t.Errorf("somebody else's results: %d %s", status, body)
	}
	if status, body := p.get("/api/v1/jobs/1/wait?timeout=10ms"); status != http.StatusOK || !strings.Contains(body, `"state": "running"`) {
		t.Errorf("wait: %d %s", status, body)
	}
	d := array(1, 3, job.Spec{User: "ann"})
	d.State, d.Ended = job.Done, time.Now()
	h.jobs.set(d)
	if status, body := p.get("/api/v1/jobs/1/wait"); status != http.StatusOK || !strings.Contains(body, `"state": "done"`) {
		t.Errorf("wait for one that has ended: %d %s", status, body)
	}
}

func TestAPIFiles(t *testing.T) {
	h := open(t)
	p := h.as("ann", trust.Operator)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "./data/in.txt", Mode: 0o640, Size: 5, Typeflag: tar.TypeReg})
	io.WriteString(w, "hello")
	w.WriteHeader(&tar.Header{Name: "link", Linkname: "data/in.txt", Typeflag: tar.TypeSymlink})
	w.Close()
	packed := b.Bytes()
	status, body := p.send("POST", "/api/v1/trees", "application/x-tar", bytes.NewReader(packed))
	var made struct {
		Ref   string
		Files int
	}
	asJSON(t, body, &made)
	if status != http.StatusCreated || made.Files != 1 || len(made.Ref) != 64 {
		t.Fatalf("%d %s", status, body)
	}
	_, body = p.get("/api/v1/trees/" + made.Ref)
	in, names := tar.NewReader(strings.NewReader(body)), ""
	for e, err := in.Next(); err == nil; e, err = in.Next() {
		data, _ := io.ReadAll(in)
		names += fmt.Sprintf("%s %o %q %s;", e.Name, e.Mode, data, e.Linkname)
	}
	if names != `data/ 755 "" ;data/in.txt 640 "hello" ;link 777 "" data/in.txt;` {
		t.Errorf("what comes back is %s", names)
	}

	blob := fmt.Sprintf("%x", sha256.Sum256([]byte("a blob")))
	if status, body := p.send("POST", "/api/v1/blobs/missing", "", strings.NewReader(`["`+blob+`"]`)); status != http.StatusOK || !strings.Contains(body, blob) {
		t.Errorf("missing: %d %s", status, body)
	}
	if status, body := p.send("PUT", "/api/v1/blobs/"+blob, "", strings.NewReader("a blob")); status != http.StatusCreated {
		t.Errorf("put: %d %s", status, body)
	}
	if status, body := p.get("/api/v1/blobs/" + blob); status != http.StatusOK || body != "a blob" {
		t.Errorf("get: %d %s", status, body)
	}

	var evil bytes.Buffer
	w = tar.NewWriter(&evil)
	w.WriteHeader(&tar.Header{Name: "../../etc/passwd", Size: 1, Typeflag: tar.TypeReg})
	io.WriteString(w, "x")
	w.Close()
	viewer := h.as("vic", trust.Viewer)
	for name, try := range map[string]struct {
		who  *person
		body []byte
		want int
	}{"a path that leaves": {p, evil.Bytes(), 400}, "no tar": {p, []byte(strings.Repeat("no tar ", 200)), 400}, "cut off": {p, packed[:514], 400}, "a viewer": {viewer, packed, 403}, "a stranger": {h.stranger(), packed, 401}} {
		if status, body := try.who.send("POST", "/api/v1/trees", "", bytes.NewReader(try.body)); status != try.want {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, path := range []string{"/api/v1/trees/" + made.Ref, "/api/v1/blobs/" + blob} {
		if status, _ := viewer.get(path); status != http.StatusForbidden {
			t.Errorf("a viewer reads %s: %d", path, status)
		}
	}
}
