package job

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

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

	state    *State
	inbox    chan func() // runs in the loop
	writer   *writer
	output   *outputStore
	couriers map[string]*courier
	waits    []parked                   // actions whose record is not on disk yet
	durable  uint64                     // newest record on disk
	accepted map[uint64]chan<- ID       // who waits for a submission, by the record it is in
	fetching map[string]map[Key]Attempt // results whose output is under way, by node
	wake     *time.Timer
	life     context.Context // ends with Run
	ended    sync.WaitGroup  // what the loop has started

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
	Pin(ctx context.Context, name, ref string) error // an error when the artefact is not here
	Unpin(name string) error
}

// parked is an action that waits for a record.
type parked struct {
	after  uint64
	action Action
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
	s.writer = newWriter(journal, s.output, len(found.Records), s.Revive, s.Log)
	s.inbox = make(chan func(), 1024)
	s.couriers, s.accepted = map[string]*courier{}, map[uint64]chan<- ID{}
	s.fetching, s.changed = map[string]map[Key]Attempt{}, make(chan struct{})
	s.register()
	return nil
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
		s.ask(ctx, func(st *State) {
			for _, j := range st.Jobs() {
				if j.Ended.IsZero() {
					c.Pending += j.Counts.Pending
					c.Running += j.Counts.Running
				}
			}
		})
		emit(float64(c.Pending), "state", "pending")
		emit(float64(c.Running), "state", "running")
	})
}

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
		case <-s.wake.C:
			s.happen(Tick{})
		}
		s.announce()
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

// expected is the workers that may hold something of before the head's start.
func (s *Service) expected() []string {
	names := []string{}
	for _, n := range s.workers() {
		names = append(names, n.Name)
	}
	return names
}

// announce wakes those who watch.
func (s *Service) announce() {
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

// ask looks at the state from within the loop.
func (s *Service) ask(ctx context.Context, look func(*State)) error {
	done := make(chan struct{})
	if !s.do(ctx, func() { look(s.state); close(done) }) {
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// happen lets an event happen and sees to what follows; it returns the number of the record, if any.
// It runs in the loop.
func (s *Service) happen(ev Event) (record uint64) {
	var written commit
	for _, a := range Step(s.state, ev, s.Now()) {
		switch a := a.(type) {
		case Record:
			record = a.Seq
			written.seq, written.record = a.Seq, a.Data
		case Final:
			written.finals = a.Results
			s.tally(a.Results)
		case Moved:
			s.tellMoved(a)
		case WakeAt:
			s.wakeAt(a.At)
		default:
			if after := afterOf(a); after > s.durable {
				s.waits = append(s.waits, parked{after, a})
			} else {
				s.act(a)
			}
		}
	}
	if record > 0 {
		if s.writer.due() {
			written.snapshot = s.state.Snapshot()
		}
		s.writer.add(written)
	}
	return record
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
	case Accepted:
		return a.After
	case Forget:
		return a.After
	case Start:
		return a.After
	case Kill:
		return a.After
	case Recall:
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
	for _, h := range s.waits {
		if h.after <= seq {
			s.act(h.action)
		} else {
			kept = append(kept, h)
		}
	}
	clear(s.waits[len(kept):])
	s.waits = kept
}

// act does one thing that Step asked for and that waits for nothing any more.
func (s *Service) act(a Action) {
	switch a := a.(type) {
	case Accepted:
		s.submitted.Add(1)
		if who := s.accepted[a.After]; who != nil {
			delete(s.accepted, a.After)
			who <- a.ID
		}
	case Start:
		c := s.courier(a.Node)
		c.order(order{Start: a.Attempts}, s.specsFor(c, a.Attempts))
	case Kill:
		s.courier(a.Node).order(order{Kill: a.Keys}, nil)
	case Recall:
		s.courier(a.Node).order(order{Recall: a.Keys}, nil)
	case Forget:
		s.courier(a.Node).forget(a.Keys)
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

func (s *Service) tally(results []Result) {
	var done int64
	for i := range results {
		if results[i].OK() {
			done++
		}
	}
	s.finished.Add(done)
	s.failed.Add(int64(len(results)) - done)
}

func (s *Service) tellMoved(m Moved) {
	s.moved.Add(int64(len(m.Keys)))
	s.Events.Record(event.Event{Kind: event.Change, Room: "job", Node: m.Node, Job: int64(m.Keys[0].Job), Bad: true,
		Text: fmt.Sprintf("%s moved from %s: %s", tasksText(len(m.Keys)), m.Node, m.Why)})
}

func tasksText(n int) string {
	if n == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}

func (s *Service) tellEnded(id ID) {
	sum, ok := s.state.Job(id)
	if !ok {
		return
	}
	if sum.Spec.Inputs != "" && s.Inputs != nil {
		if err := s.Inputs.Unpin(pinName(id)); err != nil {
			s.Log.Warn("inputs not let go", "job", id, "error", err)
		}
	}
	text := fmt.Sprintf("job %d %s: %s", id, sum.State, countsText(sum.Counts))
	s.Events.Record(event.Event{Kind: event.Change, Room: "job", Job: int64(id), User: sum.Spec.User, Text: text, Bad: sum.State == Failed})
}

func countsText(c Counts) string {
	text := fmt.Sprintf("%d done", c.Done)
	if c.Failed > 0 {
		text += fmt.Sprintf(", %d failed", c.Failed)
	}
	if c.Cancelled > 0 {
		text += fmt.Sprintf(", %d cancelled", c.Cancelled)
	}
	return text
}

func pinName(id ID) string { return fmt.Sprintf("job.%d", id) }

// FleetChanged takes in a change of a node's state; it does not block.
func (s *Service) FleetChanged(ctx context.Context, n fleet.Node, c fleet.Change) {
	if !isWorker(n) {
		return
	}
	// The caller may hold what the loop waits for when it looks at the fleet.
	go s.do(ctx, func() {
		switch c.To {
		case fleet.Up:
			s.courier(n.Name).resync()
		case fleet.Suspect:
			s.happen(NodeSuspect{n.Name})
		case fleet.Down:
			s.happen(NodeDown{n.Name})
		case fleet.Gone:
			s.happen(NodeGone{n.Name})
		}
		s.selections()
	})
}

// RollChanged is called when labels changed, so that selections may mean other nodes; it does not block.
func (s *Service) RollChanged(ctx context.Context) {
	go s.do(ctx, func() { s.selections() })
}

// selections tells the state which nodes each selection in use means now.
func (s *Service) selections() {
	workers := s.workers()
	for _, on := range s.state.Selections() {
		s.happen(Eligible{On: on, Nodes: match(on, workers)})
	}
}

func (s *Service) workers() []fleet.Node {
	return slices.DeleteFunc(s.Fleet.Nodes(), func(n fleet.Node) bool { return !isWorker(n) })
}

func isWorker(n fleet.Node) bool { return slices.Contains(n.Roles, fleet.RoleWorker) }

// match is the names of the workers that a selection means; none for one that cannot be read, which submit has refused.
func match(on string, workers []fleet.Node) []string {
	var sel fleet.Selector
	if on != "" {
		var err error
		if sel, err = fleet.ParseSelector(on); err != nil {
			return nil
		}
	}
	names := []string{}
	for _, n := range sel.Match(workers) {
		names = append(names, n.Name)
	}
	return names
}

// Load tells what a node does, for who would take it away.
func (s *Service) Load(ctx context.Context, name string) (load Load, err error) {
	err = s.ask(ctx, func(st *State) { load, _ = st.Load(name) })
	return load, err
}
