package job

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/keeper"
	"bramble/metric"
	"bramble/trust"
)

func TestMain(m *testing.M) {
	if os.Getenv(rankVar) != "" {
		if err := speakAsRank(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	bustest.Main(m)
}

// cluster is a head and its nodes in a bubble: real bus, journal and services, fake time, fake keepers.
type cluster struct {
	t     *testing.T
	dir   string
	bus   *bustest.Bus
	head  *bus.Conn
	jobs  *Service
	stop  context.CancelFunc
	ended chan error
	fleet *fakeFleet
	files *fakeFiles
	nodes map[string]*worker
	tune  func(*Service)
}

// inBubble runs a test on a cluster with a head and the named nodes of two cores each.
func inBubble(t *testing.T, names []string, test func(*cluster)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, dir: dir, fleet: &fakeFleet{}, files: &fakeFiles{}, nodes: map[string]*worker{}}
		for _, name := range names {
			c.nodes[name] = &worker{c: c, name: name, keeper: newFakeKeeper(), dir: filepath.Join(dir, name)}
			c.fleet.set(fleet.Node{Name: name, Roles: []string{fleet.RoleWorker}, Cores: 2, Memory: 1 << 30, Labels: map[string]string{}})
		}
		c.up()
		test(c)
		c.down()
		for _, w := range c.nodes {
			w.keeper.stop()
		}
		synctest.Wait()
	})
}

// up starts the head, then every node.
func (c *cluster) up() {
	c.t.Helper()
	c.bus = bustest.StartIn(c.t, filepath.Join(c.dir, "bus"))
	c.head = c.bus.Head()
	events, err := event.Open(filepath.Join(c.dir, "events"), time.Now, quiet())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { events.Close() })
	c.jobs = &Service{Conn: c.head, Dir: filepath.Join(c.dir, "job"), Fleet: c.fleet, Events: events,
		Metrics: &metric.Set{}, Now: time.Now, Log: quiet(), Inputs: c.files}
	if c.tune != nil {
		c.tune(c.jobs)
	}
	if err := c.jobs.Open(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop, c.ended = cancel, make(chan error, 1)
	jobs, ended := c.jobs, c.ended
	go func() { ended <- jobs.Run(ctx) }()
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		c.nodes[name].up()
	}
	synctest.Wait()
}

// down stops everything; what the nodes' keepers run goes on.
func (c *cluster) down() {
	c.t.Helper()
	for _, w := range c.nodes {
		w.down()
	}
	c.stop()
	if err := <-c.ended; err != nil {
		c.t.Errorf("the service ended with %v", err)
	}
	c.bus.StopAll(c.head)
	synctest.Wait()
}

// restart is a head, and agents, that stop and start again over the same folders.
func (c *cluster) restart(away time.Duration) {
	c.down()
	time.Sleep(away)
	c.up()
}

func (c *cluster) client(user string, role trust.Role) Client {
	return Client{Conn: c.bus.Client(user, role)}
}

// asked runs f as a client and closes its connection.
func (c *cluster) asked(f func(Client)) {
	cl := c.client("ann", trust.Operator)
	defer cl.Conn.Close()
	f(cl)
}

func (c *cluster) submit(spec Spec) ID {
	c.t.Helper()
	var id ID
	c.asked(func(cl Client) {
		var err error
		if id, err = cl.Submit(c.t.Context(), spec); err != nil {
			c.t.Fatal(err)
		}
	})
	return id
}

func (c *cluster) wait(id ID) (sum Summary) {
	c.t.Helper()
	c.asked(func(cl Client) {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Hour)
		defer cancel()
		var err error
		if sum, err = cl.Wait(ctx, id, nil); err != nil {
			c.t.Fatalf("wait for job %d: %v", id, err)
		}
	})
	return sum
}

func (c *cluster) detail(id ID) (d Detail) {
	c.t.Helper()
	c.asked(func(cl Client) {
		var err error
		if d, err = cl.Job(c.t.Context(), id); err != nil {
			c.t.Fatal(err)
		}
	})
	return d
}

// output is what logs tells of a job: "index.attempt:text" for each stream, in order of arrival.
func (c *cluster) output(req LogRequest) string {
	c.t.Helper()
	var b strings.Builder
	c.asked(func(cl Client) {
		for l, err := range cl.Logs(c.t.Context(), req) {
			if err != nil {
				c.t.Fatal(err)
			}
			if l.Note {
				fmt.Fprintf(&b, "[%d %s]", l.Index, l.Data)
			} else {
				b.Write(l.Data)
			}
		}
	})
	return b.String()
}

// nothingLeft sees that all was acknowledged and cleared away, a while after the last task.
func (c *cluster) nothingLeft() {
	c.t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	for _, w := range c.nodes {
		if left := w.keeper.held(); len(left) > 0 {
			c.t.Errorf("%s still keeps %v", w.name, left)
		}
		if left := leftIn(w.dir); len(left) > 0 {
			c.t.Errorf("%s still has the folder %v", w.name, left)
		}
	}
}

// begun is every attempt that a keeper was ever given, by task.
func (c *cluster) begun() map[string]int {
	all := map[string]int{}
	for _, w := range c.nodes {
		for id, n := range w.keeper.begun() {
			all[id] += n
		}
	}
	return all
}

// worker is a node of a cluster.
type worker struct {
	c      *cluster
	name   string
	dir    string
	keeper *fakeKeeper
	conn   *bus.Conn
	node   *Node
	stop   context.CancelFunc
	ended  chan error
}

// up starts the agent and has the fleet notice.
func (w *worker) up() {
	w.conn = w.c.bus.Node(w.name)
	n := NewNode(&Node{Conn: w.conn, Keeper: w.keeper, Accounts: nobody{}, Files: w.c.files, Dir: w.dir, Cores: 2, Memory: 1 << 30, Log: quiet()})
	w.node = n
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.ended = cancel, make(chan error, 1)
	ended := w.ended
	go func() { ended <- n.Run(ctx) }()
	w.c.notice(w.name, fleet.Up)
}

// down stops the agent, unless it is; what its keeper runs goes on.
func (w *worker) down() {
	if w.stop == nil {
		return
	}
	w.stop()
	if err := <-w.ended; err != nil && err != context.Canceled {
		w.c.t.Errorf("node %s ended with %v", w.name, err)
	}
	w.conn.Close()
	w.stop = nil
}

// notice has the head hear of a node's state.
func (c *cluster) notice(name string, state fleet.State) {
	n := c.fleet.get(name)
	n.State = state
	if state == fleet.Gone {
		c.fleet.drop(name)
	} else {
		c.fleet.set(n)
	}
	c.jobs.FleetChanged(n, fleet.Change{To: state})
	synctest.Wait()
}

func quiet() *slog.Logger {
	if os.Getenv("JOBLOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// nobody runs everything as ourselves.
type nobody struct{}

func (nobody) AccountFor(string) string { return "" }
func (nobody) Account(string) (host.Account, error) {
	return host.Account{}, nil
}

type fakeFleet struct {
	mu    sync.Mutex
	nodes map[string]fleet.Node
}

func (f *fakeFleet) Nodes() []fleet.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []fleet.Node
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		list = append(list, f.nodes[name])
	}
	return list
}

func (f *fakeFleet) get(name string) fleet.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[name]
}

func (f *fakeFleet) set(n fleet.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes == nil {
		f.nodes = map[string]fleet.Node{}
	}
	f.nodes[n.Name] = n
}

func (f *fakeFleet) drop(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.nodes, name)
}

// fakeFiles is Files and Inputs over nothing: it counts pins, and "returns" what a glob says.
type fakeFiles struct {
	mu      sync.Mutex
	pins    map[string]string
	away    bool // the head's store does not answer
	placing time.Duration
}

func (f *fakeFiles) Place(ctx context.Context, ref, dir string, _ host.Account) error {
	pause(ctx, f.placing)
	return ctx.Err()
}

func (f *fakeFiles) Collect(_ context.Context, _ string, globs []string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return "", fault.New(fault.Unreachable, "the store is away")
	}
	return "ref-" + strings.Join(globs, "+"), nil
}

func (f *fakeFiles) Changes(ctx context.Context, dir, base string, globs []string) (string, error) {
	return f.Collect(ctx, dir, append([]string{base}, globs...))
}

func (f *fakeFiles) setAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

func (f *fakeFiles) PinList(name, ref string) error { return f.Pin(context.Background(), name, ref) }

func (f *fakeFiles) Pins() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.pins)), nil
}

func (f *fakeFiles) Pin(_ context.Context, name string, refs ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pins == nil {
		f.pins = map[string]string{}
	}
	f.pins[name] = strings.Join(refs, " ")
	return nil
}

func (f *fakeFiles) Unpin(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pins, name)
	return nil
}

func (f *fakeFiles) pinned() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.pins))
}

// fakeKeeper runs commands of one word and an argument in fake time: sleep SECONDS, exit STATUS,
// say TEXT, flood BYTES, fail-until ATTEMPT, and stay (until a signal).
type fakeKeeper struct {
	mu      sync.Mutex
	given   map[string]int // how often each task was started
	tasks   map[string]*fakeTask
	changed chan struct{}
	over    chan struct{}
	deaf    bool          // Start fails
	stubbed bool          // SIGTERM is ignored
	old     bool          // it takes no limits
	slow    time.Duration // before Ended tells anything
	running sync.WaitGroup
}

type fakeTask struct {
	task   keeper.Task
	status keeper.Status
	out    []byte
	signal chan string
	order  int
}

func newFakeKeeper() *fakeKeeper {
	return &fakeKeeper{given: map[string]int{}, tasks: map[string]*fakeTask{}, changed: make(chan struct{}), over: make(chan struct{})}
}

func (k *fakeKeeper) stop() {
	close(k.over)
	k.running.Wait()
}

func (k *fakeKeeper) begun() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.given)
}

func (k *fakeKeeper) wake() {
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *fakeKeeper) Start(_ context.Context, tasks []keeper.Task) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deaf {
		return fault.New(fault.Unreachable, "no keeper")
	}
	for _, t := range tasks {
		if k.tasks[t.ID] != nil {
			continue
		}
		k.given[t.ID]++
		f := &fakeTask{task: t, status: keeper.Status{ID: t.ID, Running: true, Started: time.Now()}, signal: make(chan string, 4)}
		k.tasks[t.ID] = f
		k.running.Go(func() { k.run(t, f) })
	}
	return nil
}

func (k *fakeKeeper) run(t keeper.Task, f *fakeTask) {
	exit := host.Exit{}
	begun := time.Now()
	word, arg := t.Args[0], ""
	if len(t.Args) > 1 {
		arg = t.Args[1]
	}
	number, _ := strconv.Atoi(arg)
	switch word {
	case "sleep":
		exit = k.until(f, time.Duration(number)*time.Second)
	case "stay":
		exit = k.until(f, 1000*time.Hour)
	case "exit":
		exit.Code = number
	case "fail-until":
		if at, _ := ParseKey(t.ID); at.Attempt < number {
			exit.Code = 1
		}
	case "say":
		k.write(f, arg)
	case "say-slowly":
		for _, word := range strings.Fields(arg) {
			k.write(f, word+" ")
			if exit = k.until(f, time.Second); exit.Signal != "" {
				break
			}
		}
	case "flood":
		k.write(f, strings.Repeat("x", number))
	}
	exit.Wall = time.Since(begun)
	k.end(f, exit, "")
}

func (k *fakeKeeper) write(f *fakeTask, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f.out = append(f.out, text...)
}

// until waits, unless a signal comes.
func (k *fakeKeeper) until(f *fakeTask, d time.Duration) host.Exit {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return host.Exit{}
		case sig := <-f.signal:
			if sig == "KILL" || !k.stubbed {
				return host.Exit{Code: -1, Signal: "SIG" + sig}
			}
		case <-k.over:
			return host.Exit{}
		}
	}
}

func (k *fakeKeeper) end(f *fakeTask, exit host.Exit, why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f.status.Running, f.status.Ended, f.status.Error = false, time.Now(), why
	if why == "" {
		f.status.Exit = &exit
	}
	f.status.Stdout = int64(len(f.out))
	f.order = len(k.tasks)
	k.wake()
}

func (k *fakeKeeper) Signal(_ context.Context, id, sig string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.tasks[id]
	if t == nil {
		return fault.New(fault.NotFound, "no task %s", id)
	}
	select {
	case t.signal <- sig:
	default:
	}
	return nil
}

func (k *fakeKeeper) List(context.Context) ([]keeper.Status, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []keeper.Status
	for _, id := range slices.Sorted(maps.Keys(k.tasks)) {
		list = append(list, k.tasks[id].status)
	}
	return list, nil
}

func (k *fakeKeeper) Ended(ctx context.Context) (<-chan []keeper.Status, error) {
	batches := make(chan []keeper.Status)
	told := map[string]bool{}
	go func() {
		defer close(batches)
		pause(ctx, k.slow)
		for {
			k.mu.Lock()
			var batch []keeper.Status
			for _, id := range slices.Sorted(maps.Keys(k.tasks)) {
				if t := k.tasks[id]; !t.status.Running && !told[id] {
					told[id] = true
					st := t.status
					if st.Stdout <= keeper.SmallOutput {
						st.SmallOut = slices.Clone(t.out)
					}
					batch = append(batch, st)
				}
			}
			changed := k.changed
			k.mu.Unlock()
			if len(batch) > 0 {
				select {
				case batches <- batch:
				case <-ctx.Done():
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-k.over:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return batches, nil
}

func (k *fakeKeeper) Forget(_ context.Context, ids []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if t := k.tasks[id]; t != nil && !t.status.Running {
			delete(k.tasks, id)
		}
	}
	return nil
}

func (k *fakeKeeper) held() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.tasks))
}

func (k *fakeKeeper) Output(_ context.Context, id, stream string, offset int64, max int) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := k.tasks[id]
	if t == nil {
		return nil, fault.New(fault.NotFound, "no task %s", id)
	}
	if stream != "stdout" || offset >= int64(len(t.out)) {
		return nil, nil
	}
	part := t.out[offset:]
	return slices.Clone(part[:min(len(part), max)]), nil
}

// leftIn is what lies in a node's folder of work beside what secrets are made of.
func leftIn(dir string) []os.DirEntry {
	left, _ := os.ReadDir(dir)
	return slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == sealName })
}
