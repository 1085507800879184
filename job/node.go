package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	Dir      string // for the tasks' folders
	Cores    int
	Memory   int64 // bytes
	Log      *slog.Logger

	life  context.Context
	ended sync.WaitGroup
	greet chan struct{} // say what is held
	news  chan struct{} // there is something to report
	begin chan struct{} // there is something in starts

	mu      sync.Mutex
	starts  []Attempt // to be launched
	specs   map[ID]Spec
	slots   Slots
	killed  map[Key]bool    // by the head's order
	results map[Key]*Result // ended, and not on the head's disk as far as we know
	unsaid  []Key           // of results, those to report
	owed    report          // what else is to be reported
	folders map[ID]int      // attempts that use a job's folder
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
}

// NewNode completes a node.
func NewNode(n *Node) *Node {
	n.greet, n.news, n.begin = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	n.specs, n.killed, n.results, n.folders = map[ID]Spec{}, map[Key]bool{}, map[Key]*Result{}, map[ID]int{}
	n.slots = Slots{Cores: n.Cores, Memory: n.Memory}
	return n
}

// Greet has the node say what it holds; called at each connection.
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
	defer n.ended.Wait()
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
		bus.Handle(ctx, n.Conn, bus.Node("job", name, "sync"), func(context.Context, bus.Caller, none) (none, error) {
			n.Greet()
			return none{}, nil
		}),
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
				return cmp.Or(ctx.Err(), errors.New("the keeper was lost"))
			}
			n.over(batch)
		}
	}
}

// recall takes up what an earlier agent left to the keeper.
func (n *Node) recall(ctx context.Context) error {
	list, err := n.Keeper.List(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, st := range list {
		k, err := ParseKey(st.ID)
		if err != nil || !st.Running {
			continue
		}
		spec, err := n.readSpec(k.Job)
		if err != nil {
			n.Log.Warn("a task is running whose job is not known any more", "task", st.ID, "error", err)
			spec = Spec{CPUs: 1}
		}
		n.specs[k.Job] = spec
		n.folders[k.Job]++
		n.slots.Add(Attempt{Key: k, CPUs: spec.CPUs, Memory: spec.Memory})
		n.slots.Promote(k)
	}
	return nil
}

// do takes in an errand of the head's.
func (n *Node) do(_ context.Context, _ bus.Caller, e errand) (none, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, spec := range e.Specs {
		n.specs[id] = spec
	}
	for _, o := range e.Orders {
		n.take(o.Start)
		n.kill(o.Kill)
		n.giveBack(o.Recall)
	}
	n.start()
	if len(e.Forget) > 0 {
		n.forget(e.Forget)
	}
	return none{}, nil
}

// take queues attempts; one that is here already was handed over twice. n.mu is held, as in all that follows.
func (n *Node) take(attempts []Attempt) {
	for _, a := range attempts {
		if n.holds(a.Key) {
			continue
		}
		n.folders[a.Job]++
		n.slots.Add(a)
	}
}

func (n *Node) holds(k Key) bool {
	return n.results[k] != nil || find(n.slots.running, k) >= 0 || find(n.slots.waiting, k) >= 0
}

func (n *Node) reject(k Key, why string) {
	n.owed.Rejected = append(n.owed.Rejected, k)
	n.owed.Reason = why
	signal(n.news)
}

// start begins what has a free slot now.
func (n *Node) start() {
	if begun := n.slots.Start(); len(begun) > 0 {
		n.starts = append(n.starts, begun...)
		signal(n.begin)
	}
}

// kill ends attempts: those that run by signals, those that wait by never starting.
func (n *Node) kill(keys []Key) {
	for _, k := range keys {
		switch {
		case find(n.slots.waiting, k) >= 0:
			n.drop(k)
			n.reject(k, "it was not to be started any more")
		case find(n.slots.running, k) >= 0 && !n.killed[k]:
			n.killed[k] = true
			n.ended.Go(func() { n.end(k) })
		}
	}
}

// end asks a task to end, then makes it.
func (n *Node) end(k Key) {
	if err := n.Keeper.Signal(n.life, k.String(), "TERM"); err != nil {
		n.Log.Debug("signal", "task", k.String(), "error", err)
	}
	for {
		select {
		case <-time.After(keeper.DefaultGrace):
		case <-n.life.Done():
			return
		}
		n.mu.Lock()
		running := find(n.slots.running, k) >= 0
		n.mu.Unlock()
		if !running {
			return
		}
		n.Keeper.Signal(n.life, k.String(), "KILL")
	}
}

// giveBack returns attempts that have not started.
func (n *Node) giveBack(keys []Key) {
	for _, k := range keys {
		switch {
		case find(n.slots.waiting, k) >= 0:
			n.drop(k)
			n.reject(k, "it was asked back")
		case find(n.slots.running, k) >= 0:
			n.owed.Started = append(n.owed.Started, k)
			signal(n.news)
		}
	}
}

// drop forgets an attempt that has not run.
func (n *Node) drop(k Key) {
	n.slots.Remove(k)
	n.leaveFolder(k)
}

// starter prepares tasks and hands them to the keeper, many at once.
func (n *Node) starter(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.begin:
			n.mu.Lock()
			attempts := n.starts
			n.starts = nil
			n.mu.Unlock()
			n.launch(ctx, attempts)
		}
	}
}

func (n *Node) launch(ctx context.Context, attempts []Attempt) {
	tasks := make([]keeper.Task, 0, len(attempts))
	for _, a := range attempts {
		spec, err := n.spec(ctx, a.Job)
		switch {
		case err != nil:
			n.failed(a.Key, err)
		case spec.Inputs != "": // files to bring first must not keep the others waiting
			n.ended.Go(func() { n.hand(ctx, n.prepared(ctx, a.Key, spec, nil)) })
		default:
			tasks = n.prepared(ctx, a.Key, spec, tasks)
		}
	}
	n.hand(ctx, tasks)
}

// spec is what the job is, asked of the head where it was not told or is forgotten.
func (n *Node) spec(ctx context.Context, id ID) (Spec, error) {
	n.mu.Lock()
	spec, known := n.specs[id]
	n.mu.Unlock()
	if known {
		return spec, nil
	}
	if err := n.Conn.Call(ctx, bus.From("job", n.Conn.Who().Name, "spec"), idRequest{id}, &spec); err != nil {
		return spec, fmt.Errorf("ask what job %d is: %w", id, err)
	}
	n.mu.Lock()
	n.specs[id] = spec
	n.mu.Unlock()
	return spec, nil
}

// prepared adds a task that is ready to start; one that cannot be, or was killed meanwhile, has ended.
func (n *Node) prepared(ctx context.Context, k Key, spec Spec, tasks []keeper.Task) []keeper.Task {
	t, err := n.prepare(ctx, k, spec)
	n.mu.Lock()
	killed := n.killed[k]
	n.mu.Unlock()
	if err == nil && killed {
		err = errors.New("ended before it had started")
	}
	if err != nil {
		n.failed(k, err)
		return tasks
	}
	return append(tasks, t)
}

// hand gives tasks to the keeper until it has them; a repeated start is harmless.
func (n *Node) hand(ctx context.Context, tasks []keeper.Task) {
	if len(tasks) == 0 {
		return
	}
	for {
		err := n.Keeper.Start(ctx, tasks)
		if err == nil || ctx.Err() != nil {
			return
		}
		n.Log.Warn("the keeper did not take tasks; trying again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// failed reports an attempt that could not be started.
func (n *Node) failed(k Key, err error) {
	if n.life.Err() != nil {
		return
	}
	now := time.Now()
	n.finish(&Result{Job: k.Job, Index: k.Index, Attempt: k.Attempt, Started: now, Ended: now, Exit: host.Exit{Code: -1}, Error: err.Error()})
}

// finish frees an attempt's slot and has its result reported.
func (n *Node) finish(r *Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := r.Key()
	if n.results[k] == nil {
		n.results[k] = r
		n.unsaid = append(n.unsaid, k)
	}
	n.slots.Remove(k)
	delete(n.killed, k)
	n.start()
	signal(n.news)
}

// over takes in tasks that have ended.
func (n *Node) over(batch []keeper.Status) {
	for _, st := range batch {
		k, err := ParseKey(st.ID)
		if err != nil {
			continue
		}
		if st.Error == keeper.Lost || st.Error == keeper.Stopped {
			n.again(k, st)
			continue
		}
		r := resultOf(k, st)
		n.mu.Lock()
		spec, known := n.specs[k.Job]
		if !known {
			if spec, err = n.readSpec(k.Job); err == nil {
				n.specs[k.Job] = spec
			}
		}
		n.mu.Unlock()
		if len(spec.Return) > 0 {
			n.ended.Go(func() { n.collect(r, spec) })
			continue
		}
		n.finish(r)
	}
}

// again gives back a task that was not ended by its own doing.
func (n *Node) again(k Key, st keeper.Status) {
	n.mu.Lock()
	n.slots.Remove(k)
	n.leaveFolder(k)
	n.reject(k, st.Error)
	n.start()
	n.mu.Unlock()
	if err := n.Keeper.Forget(n.life, []string{st.ID}); err != nil {
		n.Log.Debug("forget", "task", st.ID, "error", err)
	}
}

// collect takes back what a task made, then reports it.
func (n *Node) collect(r *Result, spec Spec) {
	ref, err := n.Files.Collect(n.life, n.taskDir(r.Key()), spec.Return)
	if n.life.Err() != nil {
		return
	}
	r.Returns = ref
	if err != nil && r.Error == "" {
		r.Error = "its files could not be brought back: " + err.Error()
	}
	n.finish(r)
}

func resultOf(k Key, st keeper.Status) *Result {
	r := &Result{Job: k.Job, Index: k.Index, Attempt: k.Attempt, Started: st.Started, Ended: st.Ended, Error: st.Error,
		Timeout: st.TimedOut, Stdout: st.SmallOut, Stderr: st.SmallErr, OutSize: st.Stdout, ErrSize: st.Stderr}
	if st.Exit != nil {
		r.Exit = *st.Exit
	}
	if st.Dropped > 0 {
		r.Stderr = append(r.Stderr[:len(r.Stderr):len(r.Stderr)], fmt.Sprintf("\n[bramble: %d bytes of output beyond the limit were dropped]\n", st.Dropped)...)
	}
	return r
}

// forget lets go of results that are on the head's disk.
func (n *Node) forget(keys []Key) {
	ids := make([]string, 0, len(keys))
	for _, k := range keys {
		if n.results[k] != nil {
			delete(n.results, k)
			n.leaveFolder(k)
		}
		ids = append(ids, k.String())
	}
	n.ended.Go(func() {
		if err := n.Keeper.Forget(n.life, ids); err != nil && n.life.Err() == nil {
			n.Log.Warn("the keeper does not forget", "error", err)
		}
	})
}
