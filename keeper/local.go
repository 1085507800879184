package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bramble/fault"
	"bramble/host"
)

const (
	outputFolder = "output"
	// restAfter is how long nothing runs before an idle keeper tidies up.
	restAfter = 3 * time.Second
)

// Options are what a keeper works with.
type Options struct {
	Spool  string    // folder of the journal and of large output; made when missing, 0700
	Socket string    // for Main: where it answers
	Host   host.Host // when it is a Leftovers too, what is left of lost tasks is ended
	// Rest is called when nothing has run for a while, to give memory back; nil: nothing.
	Rest func()
	Log  *slog.Logger // nil: slog.Default()
}

// Leftovers finds what is left of tasks that a lost keeper had started, as host.Real does.
type Leftovers interface {
	// Leftovers lists the IDs, beginning with prefix, of tasks that have processes.
	Leftovers(prefix string) ([]string, error)
	// Adopt returns such a task, to be killed and waited for.
	Adopt(id string) (host.Process, error)
}

// Local is a keeper in this process.
type Local struct {
	Options
	root    *os.Root // the spool
	output  *os.Root
	journal *journal
	buffers sync.Pool

	calm chan struct{} // something became idle or was forgotten
	over chan struct{} // closed when Run has returned
	runs sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	running  int // those that wait included
	tasks    map[string]*task
	busy     int           // those that have begun and not ended
	queue    []*task       // those that wait, in their order
	done     []*done       // ended, and not on disk yet
	low      chan struct{} // few tasks wait
	settling bool          // a goroutine sees to done
	ended    []*task       // in the order they ended; forgotten ones are taken out now and then
	gone     int           // forgotten ones among them
	count    uint64        // tasks that ever ended here
	news     chan struct{} // closed and replaced when a task ends
}

// task is one that is running or not forgotten. Local.mu guards it.
type task struct {
	status Status // without small output
	run    *run   // nil once it has ended and that is on disk
	number uint64 // position among the ended
	gone   bool
}

var _ Queue = (*Local)(nil)

// Open opens a spool and takes over what an earlier keeper left in it. Nothing else may have the spool open;
// Main sees to that. Its tasks' ends are served by Run.
func Open(o Options) (*Local, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	l := &Local{
		Options: o,
		calm:    make(chan struct{}, 1),
		low:     make(chan struct{}, 1),
		over:    make(chan struct{}),
		tasks:   map[string]*task{},
		news:    make(chan struct{}),
	}
	l.buffers.New = func() any { return new([bufferSize]byte) }
	if err := l.open(); err != nil {
		l.close()
		return nil, fmt.Errorf("opening the spool %s: %w", o.Spool, err)
	}
	return l, nil
}

func (l *Local) open() (err error) {
	if err = os.MkdirAll(filepath.Join(l.Spool, outputFolder), 0o700); err != nil {
		return err
	}
	if l.root, err = os.OpenRoot(l.Spool); err != nil {
		return err
	}
	if l.output, err = l.root.OpenRoot(outputFolder); err != nil {
		return err
	}
	return l.recover()
}

// close frees the files; the parts that are open.
func (l *Local) close() {
	if l.journal != nil {
		l.journal.close()
	}
	if l.output != nil {
		l.output.Close()
	}
	if l.root != nil {
		l.root.Close()
	}
}

// Run serves the keeper until ctx is done, then ends what runs: SIGTERM, SIGKILL after each task's grace,
// and the ends on disk. The keeper cannot be used afterwards.
func (l *Local) Run(ctx context.Context) error {
	defer close(l.over)
	rest := time.NewTimer(restAfter)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			l.stop()
			return nil
		case <-l.calm:
			rest.Reset(restAfter)
		case <-rest.C:
			l.tidy()
		}
	}
}

func (l *Local) stop() {
	l.mu.Lock()
	l.stopping = true
	l.withdraw(Stopped, func(*task) bool { return true })
	var left []*run
	for _, t := range l.tasks {
		if t.run != nil && !t.status.Waiting {
			left = append(left, t.run)
		}
	}
	l.mu.Unlock()
	for _, r := range left {
		<-r.forked
		r.terminate(&r.stopped)
	}
	l.runs.Wait()
	l.close()
}

// tidy makes an idle keeper small.
func (l *Local) tidy() {
	l.mu.Lock()
	idle := l.running == 0
	if len(l.tasks) == 0 {
		l.tasks, l.ended, l.gone = map[string]*task{}, nil, 0 // a map never shrinks
	}
	l.mu.Unlock()
	if !idle {
		return
	}
	if err := l.journal.trim(true); err != nil {
		l.Log.Warn("the journal could not be cut", "error", err)
	}
	if l.Rest != nil {
		l.Rest()
	}
}

// relax lets Run know that there may be nothing left to do.
func (l *Local) relax() {
	select {
	case l.calm <- struct{}{}:
	default:
	}
}

// Start implements Keeper.
func (l *Local) Start(ctx context.Context, tasks []Task) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, t := range tasks {
		if err := t.check(); err != nil {
			return err
		}
	}
	fresh, err := l.admit(tasks)
	if err != nil {
		return err
	}
	for _, t := range fresh {
		switch {
		case t.run.task.Lanes > 0:
		case t.run.task.Copy != nil: // to open its files may take long
			go func() { l.carry(t, l.fork(t)) }()
		default:
			err := l.fork(t)
			go l.carry(t, err)
		}
	}
	l.fill()
	return nil
}

// admit writes down the tasks that are not known yet, before they are forked, so that a keeper that is killed
// leaves no task unknown. It does not wait for the disk: what a power cut makes it forget it has ended as well.
func (l *Local) admit(tasks []Task) ([]*task, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping {
		return nil, fault.New(fault.Unreachable, "the keeper is stopping")
	}
	now := time.Now()
	var entries []entry
	fresh := map[string]*task{}
	var order []*task
	for _, t := range tasks {
		if l.tasks[t.ID] != nil || fresh[t.ID] != nil {
			continue
		}
		entries = append(entries, begunEntry(begun{ID: t.ID, At: now}))
		fresh[t.ID] = &task{status: Status{ID: t.ID, Running: true, Started: now}, run: newRun(t, l.output)}
		order = append(order, fresh[t.ID])
	}
	if len(order) == 0 {
		return nil, nil
	}
	if err := l.journal.append(entries...); err != nil {
		return nil, err
	}
	for id, t := range fresh {
		l.tasks[id] = t
	}
	l.running += len(order)
	l.runs.Add(len(order))
	for _, t := range order {
		if t.status.Waiting = t.run.task.Lanes > 0; t.status.Waiting {
			l.queue = append(l.queue, t)
		} else if t.run.task.counts() {
			l.busy++
		}
	}
	return order, nil
}
