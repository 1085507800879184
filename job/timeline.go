package job

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
	"bramble/sorts"
)

const (
	keptSpans = 50_000           // spans that the head remembers, about 64 bytes each
	keptRate  = 600              // seconds of throughput
	shortSpan = time.Second      // attempts that take less are told together
	shortGap  = time.Second      // when no longer than this lies between them
	longSpan  = 30 * time.Second // and what is told together lasts no longer
	openSpans = 4                // spans of a node that may still grow: a few jobs, and those of their tasks that fail

	maxTold    = 3000 // spans in an answer
	maxRows    = 256
	maxColumns = 240
	usualRows  = 48
)

// Span is what a node did of a job without a pause: one attempt, or several short ones.
type Span struct {
	Row     int           `json:"row"` // in Timeline.Rows
	Job     ID            `json:"job"`
	First   int           `json:"first"` // smallest and greatest index
	Last    int           `json:"last"`
	N       int           `json:"n"` // attempts
	Start   time.Time     `json:"start"`
	End     time.Time     `json:"end"`     // of what runs: when the head was asked
	Busy    time.Duration `json:"busy"`    // of all its attempts together
	State   TaskState     `json:"state"`   // Running, Done, Failed or Cancelled
	CPUs    int           `json:"cpus"`    // of each attempt
	Attempt int           `json:"attempt"` // the highest number
}

// TimelineRequest chooses a part of who ran where.
type TimelineRequest struct {
	Since   time.Time `json:"since,omitzero"`    // zero: ten minutes before Until
	Until   time.Time `json:"until,omitzero"`    // zero: now
	Job     ID        `json:"job,omitempty"`     // only this one's
	Skip    int       `json:"skip,omitempty"`    // leave out so many nodes
	Nodes   int       `json:"nodes,omitempty"`   // tell of at most so many; 0: all
	Rows    int       `json:"rows,omitempty"`    // at most so many rows; more nodes share them
	Most    int       `json:"most,omitempty"`    // at most so many spans
	Columns int       `json:"columns,omitempty"` // of Heat
}

// Timeline is who ran where. Nodes have a row each and their Spans, or, where that are too many,
// share rows of which Heat says how busy they were.
type Timeline struct {
	Since  time.Time     `json:"since"`
	Until  time.Time     `json:"until"`
	Known  time.Time     `json:"known"` // the head remembers nothing of before
	Nodes  int           `json:"nodes"` // in all, of the whole cluster
	Rows   []TimelineRow `json:"rows"`
	Spans  []Span        `json:"spans,omitempty"`
	Hidden int           `json:"hidden,omitempty"` // spans left out, the shortest
	Heat   [][]int       `json:"heat,omitempty"`   // by row and column: the share of its cores at work, in per mille
}

// TimelineRow is one node, or several that follow each other by name.
type TimelineRow struct {
	Name  string `json:"name"` // a hostlist
	Nodes int    `json:"nodes"`
	Skip  int    `json:"skip"` // how many nodes come before
	Cores int    `json:"cores"`
}

// Throughput is how many tasks became final in each second, the newest last, and what there is to do now.
type Throughput struct {
	Until  time.Time `json:"until"` // end of the last second
	Done   []int     `json:"done"`
	Failed []int     `json:"failed"`
	Open   Counts    `json:"open"`  // tasks of jobs that have not ended
	Cores  int       `json:"cores"` // of the workers that are up
	Used   int       `json:"used"`  // of those, by what runs
}

// rowsOf gives nodes, in order, rows: one each, or as many to a row as make few enough rows.
func rowsOf(nodes []fleet.Node, most, skipped int) (rows []TimelineRow, of map[string]int) {
	of = map[string]int{}
	per := max(1, (len(nodes)+most-1)/most)
	for part := range slices.Chunk(nodes, per) {
		row := TimelineRow{Nodes: len(part), Skip: skipped + len(of)}
		var names []string
		for _, n := range part {
			names = append(names, n.Name)
			of[n.Name] = len(rows)
			row.Cores += n.Cores
		}
		row.Name = fleet.Fold(names)
		rows = append(rows, row)
	}
	return rows, of
}

// within fills in what a request leaves open and bounds the rest.
func (r TimelineRequest) within(now time.Time) (TimelineRequest, error) {
	if r.Until.IsZero() {
		r.Until = now
	}
	if r.Since.IsZero() {
		r.Since = r.Until.Add(-10 * time.Minute)
	}
	if !r.Since.Before(r.Until) || r.Until.Sub(r.Since) > 366*24*time.Hour || r.Skip < 0 || r.Nodes < 0 {
		return r, fault.New(fault.Misused, "a timeline goes from a moment to a later one, within a year").Hint("leave since and until out for the last ten minutes")
	}
	bound := func(n *int, usual, most int) {
		if *n <= 0 {
			*n = usual
		}
		*n = min(*n, most)
	}
	bound(&r.Rows, usualRows, maxRows)
	bound(&r.Most, maxTold, maxTold)
	bound(&r.Columns, 120, maxColumns)
	return r, nil
}

// running is what runs now, as moments that end now, and how many cores the attempts of each job have.
func (s *State) running(only ID, number func(string) int32, now int64) (list []moment) {
	for _, j := range s.jobs {
		if only != 0 && j.id != only {
			continue
		}
		for task, a := range j.active {
			if j.waits(task) {
				continue
			}
			since := min(a.since.UnixNano(), now)
			index := int32(j.array.At(task))
			m := moment{start: since, end: now, busy: now - since, job: j.id, first: index, last: index, n: 1, attempt: int32(a.attempt), state: codeRunning}
			m.node = number(a.node.name)
			list = append(list, m)
			for _, other := range a.others {
				m.node = number(other.name)
				list = append(list, m)
			}
		}
	}
	return list
}

// timeline tells who ran where.
func (s *Service) timeline(ctx context.Context, _ bus.Caller, req TimelineRequest) (t Timeline, err error) {
	now := s.Now()
	if req, err = req.within(now); err != nil {
		return t, err
	}
	workers := s.workers()
	t = Timeline{Since: req.Since.UTC(), Until: req.Until.UTC(), Nodes: len(workers)}
	workers = workers[min(req.Skip, len(workers)):]
	if req.Nodes > 0 {
		workers = workers[:min(req.Nodes, len(workers))]
	}
	var of map[string]int
	t.Rows, of = rowsOf(workers, req.Rows, min(req.Skip, t.Nodes))
	list, names, known := s.past.between(req.Since, req.Until, req.Job)
	t.Known = known
	number := numbers(&names)
	cpus := map[ID]int{}
	if err := s.ask(ctx, func(st *State) {
		if !req.Until.Before(now) {
			list = append(list, st.running(req.Job, number, now.UnixNano())...)
		}
		for i := range list {
			if id := list[i].job; cpus[id] == 0 {
				cpus[id] = st.cpusOf(id)
			}
		}
	}); err != nil {
		return t, err
	}
	rowOf := make([]int, len(names))
	for i, name := range names {
		if row, ok := of[name]; ok {
			rowOf[i] = row
		} else {
			rowOf[i] = -1
		}
	}
	if len(t.Rows) < len(workers) {
		t.Heat = heatOf(list, func(id ID) int { return cpus[id] }, rowOf, t.Rows, req.Columns, req.Since.UnixNano(), req.Until.UnixNano())
		return t, nil
	}
	list = slices.DeleteFunc(list, func(m moment) bool { return rowOf[m.node] < 0 })
	list, t.Hidden = condense(list, req.Most, int64(req.Until.Sub(req.Since)))
	for i := range list {
		t.Spans = append(t.Spans, list[i].span(rowOf[list[i].node], cpus[list[i].job]))
	}
	sorts.By(t.Spans, func(a, b Span) int { return cmp.Or(cmp.Compare(a.Row, b.Row), a.Start.Compare(b.Start)) })
	return t, nil
}

// numbers gives names that are not known yet the next numbers.
func numbers(names *[]string) func(string) int32 {
	of := make(map[string]int32, len(*names))
	for i, name := range *names {
		of[name] = int32(i)
	}
	return func(name string) int32 {
		n, ok := of[name]
		if !ok {
			n = int32(len(*names))
			of[name] = n
			*names = append(*names, name)
		}
		return n
	}
}

func (m *moment) span(row, cpus int) Span {
	return Span{Row: row, Job: m.job, First: int(m.first), Last: int(m.last), N: int(m.n), Start: time.Unix(0, m.start).UTC(),
		End: time.Unix(0, m.end).UTC(), Busy: time.Duration(m.busy), State: m.state.state(), CPUs: cpus, Attempt: int(m.attempt)}
}

// cpusOf is how many cores each task of a job has on one node, as far as is known.
func (s *State) cpusOf(id ID) int {
	if j := s.jobs[id]; j != nil {
		return max(1, j.spec.CPUs)
	}
	return 1
}

// cancelled reports whether somebody ended a job.
func (s *State) cancelled(id ID) bool {
	j := s.jobs[id]
	return j != nil && j.stopped != nil
}

func (s *Service) throughput(ctx context.Context, _ bus.Caller, _ none) (Throughput, error) {
	t := s.past.throughput(s.Now())
	workers := s.workers()
	err := s.ask(ctx, func(st *State) {
		t.Open = st.Open()
		for _, w := range workers {
			if n := st.nodes[w.Name]; n != nil && n.link == linkUp {
				t.Cores, t.Used = t.Cores+n.slots.Cores, t.Used+n.slots.cpus
			}
		}
	})
	return t, err
}

// answerLook registers what is asked of the room by those who look on.
func (s *Service) answerLook(ctx context.Context) error {
	return errors.Join(
		bus.Handle(ctx, s.Conn, "job.read.grid", s.grid),
		bus.Handle(ctx, s.Conn, "job.read.timeline", s.timeline),
		bus.Handle(ctx, s.Conn, "job.read.throughput", s.throughput),
		bus.HandleStream(ctx, s.Conn, "job.read.endings", s.endings),
	)
}

// Timeline tells who ran where.
func (c Client) Timeline(ctx context.Context, req TimelineRequest) (t Timeline, err error) {
	err = c.Conn.Call(ctx, "job.read.timeline", req, &t)
	return t, err
}

// Throughput tells how many tasks became final in each of the last seconds.
func (c Client) Throughput(ctx context.Context) (t Throughput, err error) {
	err = c.Conn.Call(ctx, "job.read.throughput", none{}, &t)
	return t, err
}
