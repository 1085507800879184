package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/agent"
	"bramble/artefact"
	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/job"
	"bramble/metric"
	"bramble/trust"
	"bramble/trust/trusttest"
	"bramble/web"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// house is a dashboard over a real bus with real fleet, event and sign-in rooms, and jobs in memory.
type house struct {
	t         testing.TB
	url       string // http://127.0.0.1:PORT
	port      string
	bus       *bustest.Bus
	authority *trust.Authority
	signIn    *trust.SignIn
	fleet     *fleet.Service
	events    *event.Log
	jobs      *jobs
	store     *artefact.Store
	stop      func() // ends the dashboard and waits for it
}

func open(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, bus: bustest.Start(t), jobs: newJobs(), authority: trusttest.Authority(t, time.Now)}
	log := slog.New(slog.DiscardHandler)
	var err error
	if h.events, err = event.Open(t.TempDir(), time.Now, log); err != nil {
		t.Fatal(err)
	}
	h.signIn = trust.NewSignIn(h.authority.SignIn, time.Now)
	h.authority.OnRevoke(h.signIn.EndAll)
	head := h.bus.Head()
	metrics := &metric.Set{}
	h.fleet = &fleet.Service{Conn: head, Watch: h.bus.Watch, Authority: h.authority, Roll: &trusttest.Store{}, Events: h.events,
		Metrics: metrics, Version: "1.0", Now: time.Now, Log: log}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, h.port, _ = net.SplitHostPort(listener.Addr().String())
	h.url = "http://127.0.0.1:" + h.port
	cred := trusttest.Credential(t, h.authority, trust.Identity{Kind: trust.KindHead, Name: "head"})
	store, err := artefact.OpenStore(t.TempDir(), artefact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h.store = store
	t.Cleanup(func() { store.Close() })
	h.store = store
	server := &web.Server{Listener: listener, Jobs: func(c *bus.Conn) web.Jobs { return h.jobs.as(c.Who()) },
		Dashboard: agent.Dashboard{URL: h.url, TLS: trust.WebConfig(cred, time.Now), Cluster: "test", Version: "1.0", Conn: head,
			Connect: h.bus.Connect, Nodes: h.fleet.Follow, SignIn: h.signIn, Store: store, Metrics: metrics, Log: log}}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	if err := h.events.Serve(ctx, head); err != nil {
		t.Fatal(err)
	}
	ended.Go(func() { h.fleet.Run(ctx) })
	ended.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Errorf("dashboard: %v", err)
		}
	})
	h.stop = sync.OnceFunc(func() { cancel(); ended.Wait(); h.events.Close() })
	t.Cleanup(h.stop)
	asker := web.Client{Conn: h.bus.Client("asker", trust.Viewer)}
	h.until("the dashboard answers", func() bool { _, err := asker.Link(t.Context()); return err == nil })
	return h
}

// node joins a node that reports samples; the function returned reports one, with the time set here.
func (h *house) node(name string, facts host.Facts) func(host.Sample) {
	h.t.Helper()
	conn := h.bus.Node(name)
	hello := fleet.Hello{Protocol: bus.Protocol, Version: "1.0", Roles: []string{fleet.RoleWorker}, Facts: facts}
	h.until("the head answers "+name, func() bool {
		return conn.Call(h.t.Context(), bus.From("fleet", name, "hello"), hello, nil) == nil
	})
	return func(s host.Sample) {
		s.At = time.Now()
		if err := conn.Publish(bus.From("fleet", name, "beat"), s); err != nil {
			h.t.Error(err)
		}
	}
}

// until waits for a condition.
func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("never: %s", what)
		}
	}
}

// person is a browser without a screen, signed in.
type person struct {
	*house
	http *http.Client
}

func (h *house) stranger() *person {
	jar, _ := cookiejar.New(nil)
	p := &person{h, &http.Client{Jar: jar, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	h.t.Cleanup(p.http.CloseIdleConnections)
	return p
}

// as signs a person in by a link that was asked for over the bus.
func (h *house) as(user string, role trust.Role) *person {
	h.t.Helper()
	p := h.stranger()
	link, err := web.Client{Conn: h.bus.Client(user, role)}.Link(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	if status, body := p.get(strings.TrimPrefix(link.URL, h.url)); status != http.StatusOK || !strings.Contains(body, "Welcome, "+user) {
		h.t.Fatalf("sign in: %d\n%s", status, body)
	}
	return p
}

func (p *person) get(path string) (int, string) {
	return p.do("GET", path, nil)
}

func (p *person) do(method, path string, header http.Header) (int, string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if header != nil {
		r.Header = header
		if name := header.Get("Host"); name != "" {
			r.Host = name
		}
	}
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// stream reads a live page's messages; each yields its data.
func (p *person) stream(ctx context.Context, path string) (messages <-chan string, status int) {
	p.t.Helper()
	r, _ := http.NewRequestWithContext(ctx, "GET", p.url+path, nil)
	r.Header.Set("Accept", "text/event-stream")
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	out := make(chan string, 100)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		var pending bytes.Buffer
		buf := make([]byte, 32<<10)
		for {
			n, err := resp.Body.Read(buf)
			pending.Write(buf[:n])
			for {
				message, rest, ok := bytes.Cut(pending.Bytes(), []byte("\n\n"))
				if !ok {
					break
				}
				text := string(message)
				pending = *bytes.NewBuffer(append([]byte(nil), rest...))
				select {
				case out <- text:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return out, resp.StatusCode
}

// hears waits for a message that contains all of the texts.
func (p *person) hears(messages <-chan string, texts ...string) string {
	p.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				p.t.Fatalf("the stream ended before %q", texts)
			}
			found := 0
			for _, text := range texts {
				if strings.Contains(m, text) {
					found++
				}
			}
			if found == len(texts) {
				return m
			}
		case <-limit:
			p.t.Fatalf("never heard %q", texts)
		}
	}
}

// jobs is the job room in memory.
type jobs struct {
	mu      sync.Mutex
	list    map[job.ID]job.Detail
	output  map[job.ID][]job.Line
	changed chan struct{}
}

func newJobs() *jobs {
	return &jobs{list: map[job.ID]job.Detail{}, output: map[job.ID][]job.Line{}, changed: make(chan struct{})}
}

func (j *jobs) set(d job.Detail) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list[d.ID] = d
}

func (j *jobs) write(id job.ID, l job.Line) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.output[id] = append(j.output[id], l)
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *jobs) as(who bus.Caller) web.Jobs { return jobsOf{nil, j, who} }

type jobsOf struct {
	web.Jobs // what is not below is not asked
	*jobs
	who bus.Caller
}

func (j jobsOf) List(_ context.Context, req job.ListRequest) iter.Seq2[job.Summary, error] {
	return func(yield func(job.Summary, error) bool) {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, d := range j.list {
			if !yield(d.Summary, nil) {
				return
			}
		}
	}
}

func (j jobsOf) Job(_ context.Context, id job.ID) (job.Detail, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d, ok := j.list[id]
	if !ok {
		return d, fault.New(fault.NotFound, "there is no job %d", id).Hint("bramble queue --all")
	}
	return d, nil
}

func (j jobsOf) Cancel(_ context.Context, id job.ID) (job.Summary, error) {
	if !j.who.Role.Includes(trust.Operator) { // as the bus does
		return job.Summary{}, fault.New(fault.Denied, "%s may not cancel: that needs the role operator", j.who)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	d := j.list[id]
	d.State, d.CancelledBy, d.Ended = job.Cancelled, j.who.Name, time.Now()
	j.list[id] = d
	return d.Summary, nil
}

func (j jobsOf) Logs(ctx context.Context, req job.LogRequest) iter.Seq2[job.Line, error] {
	return func(yield func(job.Line, error) bool) {
		if j.who.Name == "vic" { // as the job room refuses what is somebody else's
			yield(job.Line{}, fault.New(fault.Denied, "only ann and admins may read the output of it"))
			return
		}
		for i := 0; ; {
			j.mu.Lock()
			lines, changed := j.output[req.ID], j.changed
			j.mu.Unlock()
			for ; i < len(lines); i++ {
				if lines[i].Index == req.Index && !yield(lines[i], nil) {
					return
				}
			}
			if !req.Follow {
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

// array is a running job with so many tasks, indices from 1.
func array(id job.ID, n int, spec job.Spec) job.Detail {
	spec.Array = fmt.Sprintf("1-%d", n)
	return job.Detail{Summary: job.Summary{ID: id, Spec: spec, State: job.Running, Tasks: n, Submitted: time.Now(), Started: time.Now(),
		Counts: job.Counts{Running: n}}, Indices: map[string]string{"running": spec.Array}}
}

func asJSON(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func (j jobsOf) Grid(_ context.Context, id job.ID, _ int) (job.Grid, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := j.list[id]
	g := job.Grid{Tasks: d.Tasks, Per: 1}
	for state, text := range d.Indices {
		array, _ := job.ParseArray(text)
		for index := range array.All() {
			c := job.Cell{First: index, Last: index, Tasks: 1}
			switch job.TaskState(state) {
			case job.Running:
				c.Running = 1
			case job.Done:
				c.Done = 1
			case job.Failed:
				c.Failed = 1
			}
			g.Cells = append(g.Cells, c)
		}
	}
	slices.SortFunc(g.Cells, func(a, b job.Cell) int { return a.First - b.First })
	return g, nil
}

func (j jobsOf) Timeline(_ context.Context, req job.TimelineRequest) (job.Timeline, error) {
	now := time.Now()
	return job.Timeline{Since: req.Since, Until: now, Nodes: 1, Rows: []job.TimelineRow{{Name: "node1", Nodes: 1, Cores: 4}},
		Spans: []job.Span{{Job: 1, First: 1, Last: 1, N: 1, Start: now.Add(-time.Minute), End: now, State: job.Running, CPUs: 1}}}, nil
}

func (j jobsOf) Throughput(context.Context) (job.Throughput, error) {
	return job.Throughput{Until: time.Now(), Done: make([]int, 599), Failed: make([]int, 599), Open: job.Counts{Running: 3}, Cores: 8, Used: 3}, nil
}

func (j jobsOf) Uses(context.Context) ([]job.Use, error) { return nil, nil }

// change does something to a job as the bus would: for operators, and only what is their own.
func (j jobsOf) change(id job.ID, do func(*job.Detail)) (job.Summary, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := j.list[id]
	if !j.who.Role.Includes(trust.Operator) || d.Spec.User != j.who.Name {
		return job.Summary{}, fault.New(fault.Denied, "%s may not change job %d", j.who, id)
	}
	do(&d)
	j.list[id] = d
	return d.Summary, nil
}

func (j jobsOf) Hold(_ context.Context, id job.ID) (job.Summary, error) {
	return j.change(id, func(d *job.Detail) { d.HeldBy = j.who.Name })
}

func (j jobsOf) Release(_ context.Context, id job.ID) (job.Summary, error) {
	return j.change(id, func(d *job.Detail) { d.HeldBy = "" })
}
