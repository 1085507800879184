package job

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"bramble/bus"
	"bramble/event"
	"bramble/fleet"
	"bramble/metric"
)

// Service is the head's half: it lets events happen to the State, one after the other, and does
// what Step asks for: records to the journal, orders to the nodes, news to those who wait.
type Service struct {
	Conn    *bus.Conn
	Dir     string // for the journal's log and the tasks' output
	Fleet   Fleet
	Events  *event.Log
	Metrics *metric.Set
	Now     func() time.Time
	Log     *slog.Logger
	// Room says why no more work can be taken: the disk is nearly full.
	Room func() error
	// Revive tries to make the journal writable again.
	Revive func() error
	// Inputs keeps the files of submissions until their job has ended.
	Inputs Inputs
	Ranks  RankIssuer

	state    *State
	session  string      // names this start of the head
	inbox    chan func() // runs in the loop
	writer   *writer
	output   *outputStore
	settings *bus.Bucket
	couriers map[string]*courier
	waits    []parked                   // actions whose record is not on disk yet
	durable  uint64                     // newest record on disk
	joining  chan<- ID                  // who waits for the submission that happens now
	fetching map[string]map[Key]Attempt // results whose output is under way, by node
	memory   *semaphore.Weighted        // bytes of fetched output that memory may hold
	reselect bool                       // selections may mean other nodes
	settle   <-chan time.Time           // until it fires, selections are left as they are
	dirty    bool                       // something happened since those who watch were told
	sums     map[ID]Summary             // made since then
	over     map[ID]chan struct{}       // closed when a job that is watched has ended
	wake     *time.Timer
	life     context.Context // ends with Run
	ended    sync.WaitGroup  // what the loop has started
	fleet    fleetNews
	past     past
	reach    reach

	mu      sync.Mutex
	changed chan struct{} // closed and replaced after each batch of events

	submitted, finished, failed, moved *metric.Counter
}

// Fleet is what the scheduler needs to know of nodes.
type Fleet interface {
	Nodes() []fleet.Node
}

// Inputs keeps the artefacts of jobs.
type Inputs interface {
	Pin(ctx context.Context, name string, refs ...string) error // an error when an artefact is not here
	PinList(name, ref string) error                             // of the artefact's files only what they are, not what is in them
	Unpin(name string) error
	Pins() ([]string, error)
}

// parked is an action that waits for a record.
type parked struct {
	after  uint64
	action Action
	then   func() // instead of an action
}

// Open reads the journal. It comes before Run and before anything else is asked.
func (s *Service) Open(ctx context.Context) error {
	journal, found, err := s.Conn.Journal(ctx, "job", filepath.Join(s.Dir, "log"))
	if err != nil {
		return err
	}
	for _, d := range found.Damage {
		s.Events.Record(event.Event{Kind: event.Change, Room: "job", Bad: true, Text: "journal mended from its other copy: " + d})
	}
	if s.state, err = recall(found); err != nil {
		journal.Close()
		return fmt.Errorf("read the journal of jobs: %w", err)
	}
	s.durable = s.state.Seq()
	s.output = &outputStore{dir: filepath.Join(s.Dir, "output"), log: s.Log}
	if s.Inputs != nil {
		s.output.keep = func(name string, refs []string) error { return s.Inputs.Pin(context.WithoutCancel(ctx), name, refs...) }
	}
	s.writer = newWriter(journal, s.output, len(found.Records), s.Revive, s.Log)
	s.inbox = make(chan func(), 1024)
	s.couriers, s.over, s.sums = map[string]*courier{}, map[ID]chan struct{}{}, map[ID]Summary{}
	s.fetching, s.changed = map[string]map[Key]Attempt{}, make(chan struct{})
	s.session, s.memory = rand.Text(), semaphore.NewWeighted(maxFetched)
	s.fleet.news = make(chan struct{}, 1)
	s.register()
	s.tidy(ctx)
	return s.openPartitions(ctx)
}

// tidy brings what is kept beside the journal in line with it, since the head may have died between the two.
func (s *Service) tidy(ctx context.Context) {
	s.output.sweep(func(id ID) bool { _, known := s.state.Spec(id); return known })
	if s.Inputs == nil {
		return
	}
	s.sweepPins()
	for _, j := range s.state.Jobs() {
		switch {
		case j.Spec.Inputs == "":
		case j.Ended.IsZero():
			if err := s.Inputs.Pin(ctx, pinName(j.ID), j.Spec.Inputs); err != nil {
				s.Log.Warn("files of a job are not here any more", "job", j.ID, "error", err)
			}
		default:
			s.letGo(j.ID, j.Spec)
		}
	}
}

func recall(found bus.Recovered) (*State, error) {
	state := NewState()
	if found.Snapshot != nil {
		var err error
		if state, err = Restore(found.Snapshot); err != nil {
			return nil, err
		}
	}
	for _, r := range found.Records {
		if err := state.Apply(r); err != nil {
			return nil, err
		}
	}
	return state, nil
}

func (s *Service) register() {
	s.submitted = s.Metrics.Counter("bramble_job_submitted_total", "Jobs accepted.")
	s.finished = s.Metrics.Counter("bramble_job_tasks_done_total", "Tasks that ended with status 0.")
	s.failed = s.Metrics.Counter("bramble_job_tasks_failed_total", "Tasks that failed for good.")
	s.moved = s.Metrics.Counter("bramble_job_tasks_moved_total", "Attempts taken from a node and placed anew.")
	s.Metrics.Collect("bramble_job_tasks", "Tasks of open jobs by state.", "gauge", func(emit metric.Emit) {
		var c Counts
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.ask(ctx, func(st *State) { c = st.Open() })
		emit(float64(c.Pending), "state", "pending")
		emit(float64(c.Running), "state", "running")
	})
}

// settleFor is the least time between two looks at what selections mean: a thousand nodes may come at the same time.
const settleFor = 100 * time.Millisecond

// Run schedules until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.ended.Wait()
	defer cancel()
	s.life = ctx
	if err := s.answer(ctx); err != nil {
		return err
	}
	s.wake = time.NewTimer(time.Hour)
	defer s.wake.Stop()
	s.ended.Go(func() { s.writer.run(ctx, func(seq uint64) { s.do(ctx, func() { s.onDisk(seq) }) }) })
	s.happen(HeadStarted{Expect: s.expected()})
	s.selections()
	for {
		select {
		case <-ctx.Done():
			return nil
		case work := <-s.inbox:
			work()
			s.drainInbox()
		case <-s.fleet.news:
			s.takeFleetNews()
		case <-s.wake.C:
			s.happen(Tick{})
		case <-s.settle:
			s.settle = nil
		}
		if s.reselect && s.settle == nil {
			s.selections()
			s.settle = time.After(settleFor)
		}
		if s.dirty {
			s.announce()
		}
	}
}

// drainInbox does what else is waiting, so that news goes out once for all of it.
func (s *Service) drainInbox() {
	for range cap(s.inbox) {
		select {
		case work := <-s.inbox:
			work()
		default:
			return
		}
	}
}

// expected is the workers that may hold something of before the head's start; nil when there are none, so
// that those who are not known yet have their time.
func (s *Service) expected() []string {
	var names []string
	for _, n := range s.workers() {
		names = append(names, n.Name)
	}
	return names
}

// announce wakes those who watch.
func (s *Service) announce() {
	s.dirty = false
	clear(s.sums)
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// changes closes at the next change.
func (s *Service) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// do has the loop run work; it reports whether the loop took it.
func (s *Service) do(ctx context.Context, work func()) bool {
	select {
	case s.inbox <- work:
		return true
	case <-ctx.Done():
		return false
	}
}

// inLoop has the loop run work and returns when it has.
func (s *Service) inLoop(ctx context.Context, work func()) error {
	done := make(chan struct{})
	if !s.do(ctx, func() { work(); close(done) }) {
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settled reports whether the end of an ended job is on disk. It runs in the loop.
func (s *Service) settled(id ID) bool {
	return !slices.ContainsFunc(s.waits, func(p parked) bool { end, ok := p.action.(JobEnded); return ok && end.ID == id })
}

// ask looks at the state from within the loop.
func (s *Service) ask(ctx context.Context, look func(*State)) error {
	return s.inLoop(ctx, func() { look(s.state) })
}

// happen lets an event happen and sees to what follows; it returns the number of the record, or 0.
// It runs in the loop.
func (s *Service) happen(ev Event) (record uint64) {
	s.dirty = true
	var written commit
	for _, a := range Step(s.state, ev, s.Now()) {
		switch a := a.(type) {
		case Record:
			record = a.Seq
			written.seq, written.record = a.Seq, a.Data
		case Final:
			written.finals = leaving(a.Results)
			s.tally(a.Results)
			s.past.add(a.Results, s.Now(), s.state.cancelled)
		case Moved:
			s.tellMoved(a)
		case WakeAt:
			s.wakeAt(a.At)
		case Accepted:
			who := s.joining
			s.when(a.After, func() { who <- a.ID })
		case JobForgotten:
			s.ended.Go(func() { s.output.remove(a.ID); s.sweepPins(a.ID) })
		default:
			if after := afterOf(a); after > s.durable {
				s.waits = append(s.waits, parked{after: after, action: a})
			} else {
				s.act(a)
			}
		}
	}
	if record > 0 {
		if s.writer.due() {
			written.snapshot = s.state.Snapshot()
		}
		_, written.patient = ev.(Ended)
		s.writer.add(written)
	}
	return record
}

// when has the loop call then as soon as a record is on disk.
func (s *Service) when(record uint64, then func()) {
	if record <= s.durable {
		then()
		return
	}
	s.waits = append(s.waits, parked{after: record, then: then})
}

func (s *Service) wakeAt(at time.Time) {
	if at.IsZero() {
		s.wake.Reset(time.Hour)
		return
	}
	s.wake.Reset(max(0, at.Sub(s.Now())))
}

func afterOf(a Action) uint64 {
	switch a := a.(type) {
	case Forget:
		return a.After
	case Start:
		return a.After
	case Kill:
		return a.After
	case Recall:
		return a.After
	case Limit:
		return a.After
	case JobEnded:
		return a.After
	}
	return 0
}

// onDisk does what waited for records up to seq. It runs in the loop.
func (s *Service) onDisk(seq uint64) {
	s.durable = seq
	kept := s.waits[:0]
	for _, p := range s.waits {
		switch {
		case p.after > seq:
			kept = append(kept, p)
		case p.then != nil:
			p.then()
		default:
			s.act(p.action)
		}
	}
	clear(s.waits[len(kept):])
	s.waits = kept
}

// act does one thing that Step asked for and that waits for nothing any more.
func (s *Service) act(a Action) {
	switch a := a.(type) {
	case Start:
		c := s.courier(a.Node)
		c.order(order{Start: a.Attempts}, s.specsFor(c, a.Attempts))
	case Kill:
		s.courier(a.Node).order(order{Kill: a.Keys}, nil)
	case Recall:
		s.courier(a.Node).order(order{Recall: a.Keys}, nil)
	case Forget:
		s.courier(a.Node).forget(a.Keys)
	case Limit:
		s.courier(a.Node).limit(map[ID]time.Duration{a.ID: a.Timeout})
	case JobEnded:
		s.tellEnded(a.ID)
	}
}

// specsFor is the specs of jobs that the node has not been sent yet.
func (s *Service) specsFor(c *courier, attempts []Attempt) map[ID]Spec {
	var specs map[ID]Spec
	for _, a := range attempts {
		if c.known[a.Job] {
			continue
		}
		if spec, ok := s.state.Spec(a.Job); ok {
			if specs == nil {
				specs = map[ID]Spec{}
			}
			specs[a.Job] = spec
			c.known[a.Job] = true
		}
	}
	return specs
}

// Load tells what a node does, for who would take it away.
func (s *Service) Load(ctx context.Context, name string) (load Load, err error) {
	err = s.ask(ctx, func(st *State) { load = st.Load(name) })
	return load, err
}
