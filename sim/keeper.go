package sim

import (
	"cmp"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
)

// Keeper holds simulated tasks in memory. A keeper.Local holds a journal and folders open, which is
// too much for ten thousand in one process; what a simulated task wrote is lost with the simulation.
type Keeper struct {
	host *host.Sim
	ctx  context.Context // ends all tasks

	mu    sync.Mutex
	tasks map[string]*task
	ended []*task       // in order; forgotten ones are taken out
	count int           // tasks that ever ended
	news  chan struct{} // closed and replaced when a task ends; nil while nobody waits
}

type task struct {
	status  keeper.Status
	proc    host.Process // nil once it has ended
	number  int          // of its end, from 1
	out     [2][]byte    // stdout, stderr
	stopped bool         // for its Timeout
}

var _ keeper.Keeper = (*Keeper)(nil)

// NewKeeper makes a keeper whose tasks end with ctx.
func NewKeeper(ctx context.Context, h *host.Sim) *Keeper {
	return &Keeper{host: h, ctx: ctx}
}

// Start implements keeper.Keeper.
func (k *Keeper) Start(ctx context.Context, tasks []keeper.Task) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var over []*task
	for _, t := range tasks {
		at := k.admit(t.ID)
		if at == nil {
			continue
		}
		if exit, ok := k.host.AtOnce(t.Args); ok {
			at.status.Exit = &exit
			over = append(over, at)
			continue
		}
		k.run(t, at)
	}
	k.finish(over...)
	return nil
}

// admit notes a task; nil when it is known.
func (k *Keeper) admit(id string) *task {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tasks[id] != nil {
		return nil
	}
	if k.tasks == nil {
		k.tasks = map[string]*task{}
	}
	t := &task{status: keeper.Status{ID: id, Running: true, Started: time.Now()}}
	k.tasks[id] = t
	return t
}

func (k *Keeper) run(t keeper.Task, at *task) {
	p, readers, err := k.start(t)
	if err != nil {
		k.mu.Lock()
		at.status.Error = err.Error()
		k.mu.Unlock()
		k.finish(at)
		return
	}
	k.mu.Lock()
	at.proc, at.status.Pid = p, p.Pid()
	k.mu.Unlock()
	var wrote sync.WaitGroup
	limit := t.Cap
	if limit == 0 {
		limit = keeper.DefaultCap
	}
	for i, r := range readers {
		wrote.Go(func() { k.read(at, i, r, limit) })
	}
	go func() {
		defer context.AfterFunc(k.ctx, func() { p.Kill() })()
		if t.Timeout > 0 {
			defer time.AfterFunc(t.Timeout, func() { k.timeOut(at, p) }).Stop()
		}
		exit := p.Wait()
		wrote.Wait()
		k.mu.Lock()
		at.status.Exit, at.status.TimedOut = &exit, at.stopped
		k.mu.Unlock()
		k.finish(at)
	}()
}

func (k *Keeper) timeOut(at *task, p host.Process) {
	k.mu.Lock()
	at.stopped = true
	k.mu.Unlock()
	p.Kill()
}

// start starts a task with its output in two pipes, which are closed at once where the command writes nothing.
func (k *Keeper) start(t keeper.Task) (host.Process, [2]*os.File, error) {
	var readers [2]*os.File
	cmd := host.Command{ID: t.ID, Args: t.Args, Env: t.Env, Dir: t.Dir, Limits: t.Limits}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, readers, err
	}
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return nil, readers, err
	}
	defer errW.Close()
	cmd.Stdout, cmd.Stderr = outW, errW
	p, err := k.host.Start(cmd)
	if err != nil {
		outR.Close()
		errR.Close()
	}
	return p, [2]*os.File{outR, errR}, err
}

func (k *Keeper) read(at *task, stream int, r *os.File, limit int64) {
	defer r.Close()
	data, _ := io.ReadAll(io.LimitReader(r, limit))
	dropped, _ := io.Copy(io.Discard, r)
	k.mu.Lock()
	defer k.mu.Unlock()
	at.out[stream] = data
	at.status.Dropped += dropped
}

// finish makes the end of tasks known.
func (k *Keeper) finish(over ...*task) {
	if len(over) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range over {
		s := &at.status
		s.Running, s.Ended = false, time.Now()
		s.Stdout, s.Stderr = int64(len(at.out[0])), int64(len(at.out[1]))
		k.count++
		at.proc, at.number = nil, k.count
		k.ended = append(k.ended, at)
	}
	if k.news != nil {
		close(k.news)
		k.news = nil
	}
}

// Signal implements keeper.Keeper.
func (k *Keeper) Signal(_ context.Context, id, sig string) error {
	k.mu.Lock()
	at := k.tasks[id]
	var p host.Process
	if at != nil {
		p = at.proc
	}
	k.mu.Unlock()
	number, known := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "INT": syscall.SIGINT,
		"HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT}[strings.TrimPrefix(sig, "SIG")]
	switch {
	case at == nil:
		return unknown(id)
	case p == nil || !known: // other signals do nothing to a simulated program
		return nil
	case number == syscall.SIGKILL:
		return p.Kill()
	}
	if err := p.Signal(number); err != os.ErrProcessDone {
		return err
	}
	return nil
}

func unknown(id string) error { return fault.New(fault.NotFound, "there is no task %s here", id) }

// List implements keeper.Keeper.
func (k *Keeper) List(context.Context) ([]keeper.Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]keeper.Status, 0, len(k.tasks))
	for _, at := range k.tasks {
		list = append(list, at.status)
	}
	return list, nil
}

// Ended implements keeper.Keeper.
func (k *Keeper) Ended(ctx context.Context) (<-chan []keeper.Status, error) {
	batches := make(chan []keeper.Status)
	go func() {
		defer close(batches)
		for last := 0; ; {
			batch, end, news := k.since(last)
			if len(batch) > 0 {
				select {
				case batches <- batch:
					last = end
					continue
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			}
		}
	}()
	return batches, nil
}

// batchTasks is how many ended tasks are told at a time.
const batchTasks = 200

// since returns ends after the one numbered last, the number of its own last, and what tells of more.
func (k *Keeper) since(last int) (batch []keeper.Status, end int, news <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	from, _ := slices.BinarySearchFunc(k.ended, last+1, func(at *task, number int) int { return cmp.Compare(at.number, number) })
	for _, at := range k.ended[from:] {
		s := at.status
		if s.Stdout+s.Stderr <= keeper.SmallOutput {
			s.SmallOut, s.SmallErr = at.out[0], at.out[1]
		}
		batch, end = append(batch, s), at.number
		if len(batch) == batchTasks {
			break
		}
	}
	if k.news == nil {
		k.news = make(chan struct{})
	}
	return batch, end, k.news
}

// Forget implements keeper.Keeper.
func (k *Keeper) Forget(_ context.Context, ids []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if at := k.tasks[id]; at != nil && !at.status.Running {
			delete(k.tasks, id)
		}
	}
	k.ended = slices.DeleteFunc(k.ended, func(at *task) bool { return k.tasks[at.status.ID] != at })
	return nil
}

// Output implements keeper.Keeper; a task's output is there once it has ended.
func (k *Keeper) Output(_ context.Context, id, stream string, offset int64, limit int) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.tasks[id]
	if at == nil {
		return nil, unknown(id)
	}
	data := at.out[0]
	if stream == "stderr" {
		data = at.out[1]
	}
	from := min(max(offset, 0), int64(len(data)))
	return data[from:min(int64(len(data)), from+int64(limit))], nil
}
