package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"bramble/bus"
	"bramble/host"
	"bramble/keeper"
)

// Node is the node's half: it starts what the head hands over as slots come free, and reports what
// became of it until the head has it on disk.
type Node struct {
	Conn     *bus.Conn
	Keeper   keeper.Keeper
	Accounts Accounts
	Files    Files
	Peers    Peers  // nil: no steps
	Dress    Dress  // nil: an allocation's command gets nothing more
	Dir      string // for the tasks' folders
	Cores    int
	Memory   int64 // bytes
	Layered  bool  // a job's tasks share one copy of its files, as root can have it
	Log      *slog.Logger

	life  context.Context
	ended sync.WaitGroup
	greet chan struct{} // say that the node is there
	news  chan struct{} // there is something to report
	begin chan struct{} // there is something in starts
	seal  []byte        // what secrets are made of

	making   sync.Mutex // of jobs' folders
	limiting sync.Mutex // of what the keeper has
	tools    sync.Mutex
	toolPath string      // see tool; "" until it was needed
	flat     atomic.Bool // layers cannot be made here after all

	mu      sync.Mutex
	closing bool
	newest  stamp       // of the head's messages
	compact bool        // the head reads compact reports
	starts  []Attempt   // to be launched
	ahead   map[Key]int // handed to the keeper while they wait here: the lanes they wait for there
	specs   map[ID]Spec
	slots   Slots
	killed  map[Key]bool        // by the head's order
	results map[Key]*Result     // ended, and not on the head's disk as far as we know
	unsaid  []Key               // of results, those to report
	late    map[Key]bool        // ended under an earlier agent, and the keeper has not told how yet
	owed    report              // what else is to be reported
	here    map[ID]map[Key]bool // attempts that use a job's folder
	sharing map[ID]*sharing     // of the jobs that are here
	grounds map[ID]*ground      // likewise
	idle    map[ID][]Key        // ended attempts whose layers are kept for later ones
	era     int                 // how often a job's spec was changed

	limits map[ID]bool         // jobs that are here whose limit was changed meanwhile
	warned map[Key]*time.Timer // of what runs, before its time is up

	takes       map[Key]Attempt // ended ones that took other than what their job's spec says
	allocations map[Key]*allocation
	opened      chan struct{}    // closed and replaced when one is opened
	steps       map[string]*step // of all allocations
}

// Accounts tells whose account a user's work runs as.
type Accounts interface {
	AccountFor(user string) string
	Account(name string) (host.Account, error)
}

// Files brings a task's files and takes back what it made.
type Files interface {
	// Place puts the artefact's files into the folder, owned by the account.
	Place(ctx context.Context, ref, dir string, owner host.Account) error
	// Collect makes an artefact of the files in the folder that match the globs and hands it to the head; "" when none does.
	Collect(ctx context.Context, dir string, globs []string) (ref string, err error)
	// Changes does so with those that are new or differ from the artefact base, and match the globs if there are any.
	Changes(ctx context.Context, dir, base string, globs []string) (ref string, err error)
}

// ErrKeeperLost ends Run when the keeper is gone; with another one it can be run again.
var ErrKeeperLost = errors.New("the keeper was lost")

// NewNode completes a node.
func NewNode(n *Node) *Node {
	n.greet, n.news, n.begin = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	n.specs, n.killed, n.results, n.here = map[ID]Spec{}, map[Key]bool{}, map[Key]*Result{}, map[ID]map[Key]bool{}
	n.late, n.ahead, n.sharing = map[Key]bool{}, map[Key]int{}, map[ID]*sharing{}
	n.limits, n.warned = map[ID]bool{}, map[Key]*time.Timer{}
	n.grounds, n.takes, n.idle = map[ID]*ground{}, map[Key]Attempt{}, map[ID][]Key{}
	n.allocations, n.steps, n.opened = map[Key]*allocation{}, map[string]*step{}, make(chan struct{})
	n.slots = Slots{Cores: n.Cores, Memory: n.Memory}
	return n
}

// Greet has the node tell the head that it is there; called at each connection.
func (n *Node) Greet() { signal(n.greet) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends. Tasks go on under the keeper.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer n.close()
	defer cancel()
	n.life = ctx
	if err := n.recall(ctx); err != nil {
		return fmt.Errorf("ask the keeper what runs: %w", err)
	}
	ended, err := n.Keeper.Ended(ctx)
	if err != nil {
		return fmt.Errorf("listen to the keeper: %w", err)
	}
	name := n.Conn.Who().Name
	if err := errors.Join(
		bus.Handle(ctx, n.Conn, bus.Node("job", name, "do"), n.do),
		bus.Handle(ctx, n.Conn, bus.Node("job", name, "count"), n.count),
		bus.Handle(ctx, n.Conn, bus.Node("job", name, "signal"), n.sendSignal),
		bus.Handle(ctx, n.Conn, bus.Node("job", name, "limit"), n.limit),
		bus.HandleStream(ctx, n.Conn, bus.Node("job", name, "output"), n.output),
	); err != nil {
		return err
	}
	n.ended.Go(func() { n.reporter(ctx) })
	n.ended.Go(func() { n.starter(ctx) })
	n.Greet()
	for {
		select {
		case <-ctx.Done():
			return nil
		case batch, ok := <-ended:
			if !ok {
				return cmp.Or(ctx.Err(), ErrKeeperLost)
			}
			n.over(batch)
		}
	}
}

// close waits for all that was started.
func (n *Node) close() {
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	n.ended.Wait()
}

// spawn runs f, unless the node is closing. n.mu is held.
func (n *Node) spawn(f func()) {
	if !n.closing {
		n.ended.Go(f)
	}
}

// recall takes up what an earlier agent left to the keeper.
func (n *Node) recall(ctx context.Context) error {
	list, err := n.Keeper.List(ctx)
	if err == nil {
		err = os.MkdirAll(n.Dir, 0o711)
	}
	if err == nil {
		err = n.openSeal()
	}
	if err != nil {
		return err
	}
	reserved, err := n.reserved()
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, st := range list {
		if _, err := stepKey(st.ID); err == nil {
			n.spawn(func() { n.orphan(st) })
		}
		k, err := ParseKey(st.ID)
		if err != nil {
			continue
		}
		a, err := n.readHold(k, n.recallSpec(k))
		if err != nil {
			n.Log.Warn("a task is here of which it is not known what it takes", "task", st.ID, "error", err)
		}
		if !st.Running {
			n.late[k] = true
			n.takes[k] = a
		} else if st.Waiting {
			n.slots.Add(a)
			n.ahead[k] = 1
		} else {
			n.hold(a)
			n.forewarn(k, n.specs[k.Job], st.Started)
		}
	}
	for _, a := range reserved {
		n.recallSpec(a.Key)
		n.hold(a)
	}
	return n.sweep()
}

// hold counts an attempt as running that an earlier agent has begun.
func (n *Node) hold(a Attempt) {
	n.slots.Add(a)
	n.slots.Promote(a.Key)
	if a.takesSteps() {
		n.openAllocation(a)
		n.spawn(func() {
			if !n.isReady(a.Key) && a.Member { // it was ended before; a leader's command is ended by the keeper
				n.vacate(a.Key)
			}
		})
	}
}

// recallSpec is what the job of an attempt was when an earlier agent began it.
func (n *Node) recallSpec(k Key) Spec {
	n.enter(k)
	spec, known := n.specs[k.Job]
	if known {
		return spec
	}
	spec, err := n.readSpec(k.Job)
	if err != nil {
		n.Log.Warn("a task is here whose job is not known any more", "task", k.String(), "error", err)
		spec = Spec{CPUs: 1}
	}
	n.specs[k.Job] = spec
	return spec
}

// orphan ends a step whose connection went with an earlier agent.
func (n *Node) orphan(st keeper.Status) {
	if !st.Running {
		n.Keeper.Forget(n.life, []string{st.ID})
		return
	}
	n.Keeper.Signal(n.life, st.ID, "TERM")
	pause(n.life, keeper.DefaultGrace)
	n.Keeper.Signal(n.life, st.ID, "KILL") // one that has ended ignores it
}

// count tells the head what is held, and has every result reported that it has not said is safe.
func (n *Node) count(_ context.Context, _ bus.Caller, at stamp) (census, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.fresh(at) {
		return census{}, errLate
	}
	c := census{Cores: n.Cores, Memory: n.Memory, Held: []Held{}, Compact: compactForm, Limits: n.limiter() != nil}
	for _, a := range n.slots.running {
		c.Held = append(c.Held, Held{Attempt: a})
	}
	for _, a := range n.slots.waiting {
		c.Held = append(c.Held, Held{Attempt: a, Waiting: true})
	}
	n.unsaid = n.unsaid[:0]
	for k := range n.results {
		c.Ended = append(c.Ended, n.attempt(k))
		n.unsaid = append(n.unsaid, k)
	}
	for k := range n.late {
		c.Ended = append(c.Ended, n.attempt(k))
	}
	signal(n.news)
	return c, nil
}

// attempt is an ended attempt with what it took.
func (n *Node) attempt(k Key) Attempt {
	if a, known := n.takes[k]; known {
		return a
	}
	spec := n.specs[k.Job]
	return Attempt{Key: k, CPUs: max(1, spec.CPUs), Memory: spec.Memory}
}

var errLate = errors.New("something newer of the head's has come already")

// fresh reports whether nothing newer of the head's has come. n.mu is held, as in all that follows here.
func (n *Node) fresh(at stamp) bool {
	if at.Head == n.newest.Head && at.No <= n.newest.No {
		return false
	}
	n.newest, n.compact = at, at.Compact >= compactForm
	return true
}

// do takes in an errand of the head's.
func (n *Node) do(_ context.Context, _ bus.Caller, data []byte) (none, error) {
	e, err := readErrand(data)
	if err != nil {
		return none{}, unreadable("an errand", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing || !n.fresh(e.Stamp) {
		return none{}, errLate
	}
	for id, spec := range e.Specs {
		n.respec(id, spec)
	}
	for _, o := range e.Orders {
		n.take(o.Start)
		n.kill(o.Kill)
		n.giveBack(o.Recall)
	}
	n.start()
	n.forget(e.Forget)
	return none{}, nil
}

// take queues attempts; one that is here already was handed over twice.
func (n *Node) take(attempts []Attempt) {
	for _, a := range attempts {
		if n.results[a.Key] == nil && !n.late[a.Key] && !n.slots.holds(a.Key) {
			n.enter(a.Key)
			n.slots.Add(a)
			if a.takesSteps() {
				n.openAllocation(a)
				close(n.opened)
				n.opened = make(chan struct{})
			}
		}
	}
}

// kill ends attempts: those that run by signals, those that wait by never starting.
func (n *Node) kill(keys []Key) {
	for _, k := range keys {
		switch {
		case find(n.slots.running, k) >= 0 || n.ahead[k] > 0:
			if !n.killed[k] {
				n.killed[k] = true
				n.spawn(func() { n.end(k) })
			}
		case n.results[k] != nil:
			n.say(k)
		case n.late[k]: // its result is about to be said
		default:
			n.drop(k, "it was not to be started any more")
		}
	}
}

// giveBack returns attempts that have not started.
func (n *Node) giveBack(keys []Key) {
	for _, k := range keys {
		switch {
		case find(n.slots.running, k) >= 0:
			n.owed.Started = append(n.owed.Started, k)
			signal(n.news)
		case n.results[k] != nil:
			n.say(k)
		case n.late[k]:
		case n.ahead[k] > 0:
			n.takeBack(k)
		default:
			n.drop(k, "it was asked back")
		}
	}
}

// drop gives up an attempt that has not run, if it is here at all, and tells the head that it never will.
func (n *Node) drop(k Key, why string) {
	n.closeAllocation(k)
	n.slots.Remove(k)
	delete(n.killed, k)
	delete(n.late, k)
	delete(n.takes, k)
	delete(n.ahead, k)
	n.leave(k)
	n.owed.Rejected = append(n.owed.Rejected, k)
	n.owed.Reason = why
	signal(n.news)
}

// say has a result reported, again if need be.
func (n *Node) say(k Key) {
	n.unsaid = append(n.unsaid, k)
	signal(n.news)
}

// start begins what has a free slot now.
func (n *Node) start() {
	for _, a := range n.slots.Start() {
		if n.ahead[a.Key] == 0 {
			n.starts = append(n.starts, a)
			signal(n.begin)
		}
	}
	n.handAhead()
}

// forget lets go of results that are on the head's disk.
func (n *Node) forget(keys []Key) {
	if len(keys) == 0 {
		return
	}
	ids := make([]string, 0, len(keys))
	for _, k := range keys {
		if n.slots.holds(k) {
			continue
		}
		delete(n.results, k)
		delete(n.takes, k)
		n.leave(k)
		ids = append(ids, k.String())
	}
	n.spawn(func() {
		if err := n.Keeper.Forget(n.life, ids); err != nil && n.life.Err() == nil {
			n.Log.Warn("the keeper does not forget", "error", err)
		}
	})
}
