package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"bramble/bus"
	"bramble/fault"
)

// Node is the node's half: it keeps what the head wants of this node, and a process that does it.
type Node struct {
	Dir     string // of the process
	Version string
	// Launch starts a process, which takes over from another one, and does not wait for it. Nil, nil: it is no child of this process.
	Launch func() (*os.Process, error)
	Log    *slog.Logger

	kick chan struct{}

	mu     sync.Mutex
	wanted []Order
	hold   string        // an address for direct return
	known  bool          // what is wanted
	seen   said          // of the process, last
	told   *report       // to the head, last
	met    int           // how often it was connected to the head
	greets int           // of these, the last one that the head has heard of
	conn   *bus.Conn     // nil until the head was there for the first time
	broken error         // why no process does it
	held   holding       // Supervise's
	holds  error         // why the address is not held
	child  []*os.Process // that were started, and not yet seen to have ended; Supervise's
}

// tendEvery is how often the process is looked at.
const tendEvery = time.Second

// hungAfter is how often in a row a process that is there does not answer until it is ended.
const hungAfter = 3

// NewNode completes a node.
func NewNode(n *Node) *Node {
	n.kick = make(chan struct{}, 1)
	return n
}

// Supervise has a process do what is wanted, from what is on the disk on, until ctx ends. The process goes on then.
func (n *Node) Supervise(ctx context.Context) error {
	list, err := readOrders(n.Dir)
	if err != nil {
		n.Log.Error("what was wanted of the fronts here cannot be read; the head says it again", "error", err)
	}
	n.held.file = filepath.Join(n.Dir, "held.json")
	defer n.held.leave()
	n.mu.Lock()
	if !n.known {
		n.wanted, n.hold, n.known = list.Fronts, list.Hold, err == nil
	}
	n.mu.Unlock()
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	silent := 0
	for {
		n.reap()
		n.keepHold()
		silent = n.tend(ctx, silent)
		n.tell()
		select {
		case <-ctx.Done():
			return nil
		case <-n.kick:
		case <-tick.C:
		}
	}
}

// Run hears the head's orders until ctx ends.
func (n *Node) Run(ctx context.Context, conn *bus.Conn) error {
	name := conn.Who().Name
	err := errors.Join(
		conn.Subscribe(ctx, bus.Node("front", name, "want"), n.want),
		conn.Subscribe(ctx, bus.Node("front", name, "loads"), n.heed),
		bus.Handle(ctx, conn, bus.Node("front", name, "look"), n.look),
		bus.HandleStream(ctx, conn, bus.Node("front", name, "log"), n.sendLog),
	)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.conn = conn
	n.mu.Unlock()
	n.Connected()
	<-ctx.Done()
	n.mu.Lock()
	n.conn = nil
	n.mu.Unlock()
	return nil
}

// Connected has the node say what it does; called at each connection.
func (n *Node) Connected() {
	n.mu.Lock()
	n.met++
	n.mu.Unlock()
	n.wake()
}

func (n *Node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// want takes in what the head wants.
func (n *Node) want(m bus.Message) {
	var o orders
	if err := m.Decode(&o); err != nil {
		n.Log.Warn("an unreadable order", "error", err)
		return
	}
	n.take(o)
}

// Carries reports whether anything is wanted of the node.
func (n *Node) Carries() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.wanted) > 0 || n.hold != ""
}

// Removed has the node carry no fronts any more; called when it is no member of the cluster.
func (n *Node) Removed() { n.take(orders{}) }

// take does from now on what is wanted, and from the next start on.
func (n *Node) take(o orders) {
	if err := writeOrders(n.Dir, o); err != nil {
		n.Log.Error("the order is not kept, and will be forgotten with this process", "error", err)
	}
	n.mu.Lock()
	n.wanted, n.hold, n.known = o.Fronts, o.Hold, true
	n.mu.Unlock()
	n.wake()
}

// heed passes on how busy nodes are.
func (n *Node) heed(m bus.Message) {
	var loads map[string]float64
	if m.Decode(&loads) != nil {
		return
	}
	if _, _, err := talk(n.Dir, asked{Do: "heed", Loads: loads}); err != nil {
		n.Log.Debug("the fronts' process does not hear how busy nodes are", "error", err)
	}
}

// tend looks at the process, and has it do what is wanted. Silent is how often it has not answered.
func (n *Node) tend(ctx context.Context, silent int) int {
	n.mu.Lock()
	wanted, known := n.wanted, n.known
	n.mu.Unlock()
	if !known {
		return 0
	}
	answer, _, err := talk(n.Dir, asked{Do: "look"})
	switch {
	case len(wanted) == 0:
		if err == nil {
			_, _, err = talk(n.Dir, asked{Do: "end"})
		}
		n.note(said{}, nil)
		return 0
	case err != nil && silent < hungAfter && n.alive():
		return silent + 1
	case err != nil:
		n.endHung()
		answer, err = n.launch(ctx)
	case answer.Version != n.Version:
		n.Log.Info("the fronts' process is replaced", "was", answer.Version, "is", n.Version)
		answer, err = n.launch(ctx)
	}
	if err == nil && !does(wanted, answer) {
		answer, _, err = talk(n.Dir, asked{Do: "set", Orders: wanted})
	}
	if err != nil && ctx.Err() == nil {
		n.Log.Error("the fronts of this node are not carried", "error", err)
	}
	n.note(answer, err)
	return 0
}

// does reports whether a process does these orders and no others.
func does(wanted []Order, s said) bool {
	for _, o := range wanted {
		if c := s.Fronts[o.Name]; c.Rev != o.Rev || c.Error != "" {
			return false
		}
	}
	return len(s.Fronts) == len(wanted)
}

// launch starts a process and waits until it answers.
func (n *Node) launch(ctx context.Context) (said, error) {
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return said{}, err
	}
	child, err := n.Launch()
	if err != nil {
		return said{}, err
	}
	if child != nil {
		n.child = append(n.child, child)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*askPatience)
	defer cancel()
	for {
		answer, _, err := talk(n.Dir, asked{Do: "look"})
		if err == nil && answer.Version == n.Version {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return said{}, fault.New(fault.Failed, "the process for it does not start").Hint("tail %s", filepath.Join(n.Dir, "log.txt"))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// keepHold holds the address that is wanted, or none.
func (n *Node) keepHold() {
	n.mu.Lock()
	at, known, before := n.hold, n.known, n.holds
	n.mu.Unlock()
	if !known || at == "" && n.held.now == nil && !exists(n.held.file) {
		return
	}
	err := n.held.want(at)
	if err != nil && (before == nil || before.Error() != err.Error()) {
		n.Log.Error("the address of a front with direct return is not held, or not let go of", "address", at, "error", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holds = err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// reap lets children that have ended go.
func (n *Node) reap() {
	n.child = slices.DeleteFunc(n.child, func(p *os.Process) bool {
		gone, err := syscall.Wait4(p.Pid, nil, syscall.WNOHANG, nil)
		return gone != 0 || err != nil && err != syscall.EINTR
	})
}

// alive reports whether a process has the folder.
func (n *Node) alive() bool { return held(n.Dir) }

// held reports whether a process has a folder.
func held(dir string) bool {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	return tryLock(lock) != nil
}

// Carrier is the number of the process that carries the fronts of a folder; 0 is none.
func Carrier(dir string) int {
	if !held(dir) {
		return 0
	}
	text, _ := os.ReadFile(filepath.Join(dir, "lock"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return max(pid, 0)
}

// endHung ends a process that has the folder and does not answer.
func (n *Node) endHung() {
	if pid := Carrier(n.Dir); pid > 1 && pid != os.Getpid() {
		n.Log.Error("the fronts' process does not answer, and is ended", "pid", pid)
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// note keeps what the process said.
func (n *Node) note(s said, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen, n.broken = s, err
}

// tell reports to the head if there is something new to it, or if it asks; what is lost with the connection is said at the next.
func (n *Node) tell() {
	n.mu.Lock()
	r := report{Hello: n.met != n.greets, Fronts: map[string]string{}, Hold: n.hold}
	for _, o := range n.wanted { // what is known here need not be said again, whether it can be done or not
		r.Fronts[o.Name] = o.Rev
	}
	conn, met, news := n.conn, n.met, r.Hello || n.known && (n.told == nil || !maps.Equal(n.told.Fronts, r.Fronts) || n.told.Hold != r.Hold)
	n.mu.Unlock()
	if conn != nil && news && conn.Connected() {
		n.send(conn, r, met)
	}
}

// send sends a report, until the head has heard it: it tells nobody what nobody seems to do.
func (n *Node) send(conn *bus.Conn, r report, met int) {
	ctx, cancel := context.WithTimeout(context.Background(), tendEvery)
	defer cancel()
	err := conn.Call(ctx, bus.From("front", conn.Who().Name, "report"), r, nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.greets, n.told = met, &r
	}
}

// look tells the head how a front does here.
func (n *Node) look(_ context.Context, _ bus.Caller, req which) (Carried, error) {
	answer, _, err := talk(n.Dir, asked{Do: "look"})
	n.mu.Lock()
	broken := n.broken
	n.mu.Unlock()
	c, ok := answer.Fronts[req.Name]
	switch {
	case ok:
		return c, nil
	case broken != nil:
		return Carried{Error: broken.Error()}, nil
	case err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, io.EOF):
		return Carried{Error: "its process does not answer: " + err.Error()}, nil
	}
	return Carried{}, nil
}

// Standing is what the process said last of each front, for metrics.
func (n *Node) Standing() map[string]Carried {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen.Fronts
}
