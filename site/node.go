package site

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
	"bramble/host"
)

// Node is the node's half: it has releases ready, serves what is live, and swaps when it is told to. What it should
// serve is on its disk, so that it serves from its start, whether the head is there or not.
type Node struct {
	Store *artefact.Store
	// Trusted reports why something is not signed by the cluster.
	Trusted func(purpose string, data, sig []byte) error
	Dir     string // for what should be served
	Host    string // where to listen; "": on every link
	Budget  int64  // bytes of bodies in memory, for each release
	Log     *slog.Logger

	life    context.Context
	work    sync.WaitGroup
	doors   doors
	proved  proved
	traffic traffic
	logs    chan struct{} // lines of visits wait to be written
	writing sync.Mutex    // held by who writes them

	said  chan struct{} // there is something to report
	begun chan struct{} // closed when what is on the disk is known

	mu     sync.Mutex
	links  *Links // nil until the head was there for the first time
	hosted map[string]*hosted
	hello  bool // the next report is the first of a connection
}

// Links is what a node has once it is connected.
type Links struct {
	Conn     *bus.Conn
	Files    Files
	Starter  Starter
	Accounts Accounts
}

// Files brings trees to the node.
type Files interface {
	// Bring fetches a tree, named by its list, which the pin holds.
	Bring(ctx context.Context, pin string, list artefact.Blob, way artefact.Way, tell artefact.Progress) (m artefact.Manifest, moved int64, err error)
	// Lay lays a tree that is in the store out in a folder, with the rights of the user's account.
	Lay(ctx context.Context, user, as string, ref artefact.Ref, m artefact.Manifest, to string) error
}

// Starter starts processes, as a host.Host does.
type Starter interface {
	Start(host.Command) (host.Process, error)
}

// Accounts tells whose account a user's work runs as.
type Accounts interface {
	AccountFor(user string) string
	Account(name string) (host.Account, error)
}

// NewNode completes a node.
func NewNode(n *Node) *Node {
	n.hosted, n.said, n.begun, n.logs = map[string]*hosted{}, make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1)
	n.doors.node, n.doors.all = n, map[string]*door{}
	return n
}

// Serve serves what is on the disk, and what comes, until ctx ends.
func (n *Node) Serve(ctx context.Context) error {
	kept, err := n.readKept()
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.life = ctx
	for _, k := range kept {
		h := n.open(k.Spec.Name)
		h.recalled, h.kept = &k, k
	}
	n.mu.Unlock()
	close(n.begun)
	n.writeLogs(ctx)
	n.work.Wait()
	n.doors.closeAll()
	n.flushLogs()
	return nil
}

// Connected has the node say what it has; called at each connection.
func (n *Node) Connected() {
	n.mu.Lock()
	n.hello = true
	n.mu.Unlock()
	n.report()
}

func (n *Node) report() {
	select {
	case n.said <- struct{}{}:
	default:
	}
}

// Run hears the head's orders until ctx ends.
func (n *Node) Run(ctx context.Context, l Links) error {
	n.mu.Lock()
	n.links = &l
	n.mu.Unlock()
	select {
	case <-n.begun:
	case <-ctx.Done():
		return nil
	}
	name := l.Conn.Who().Name
	err := errors.Join(
		l.Conn.Subscribe(ctx, bus.Node("site", name, "want"), n.wanted),
		bus.HandleStream(ctx, l.Conn, bus.Node("site", name, "stage"), n.stage),
		bus.HandleStream(ctx, l.Conn, bus.Node("site", name, "log"), n.sendLog),
	)
	if err != nil {
		return err
	}
	n.Connected()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.said:
			n.tell(l.Conn)
		}
	}
}

// tell reports on all sites; what is lost with the connection is said at the next.
func (n *Node) tell(conn *bus.Conn) {
	r := report{Sites: map[string]hosting{}}
	n.mu.Lock()
	r.Hello, n.hello = n.hello, false
	for name, h := range n.hosted {
		if h.target != nil || h.live != nil {
			r.Sites[name] = h.hosting()
		}
	}
	n.mu.Unlock()
	if err := conn.Publish(bus.From("site", conn.Who().Name, "report"), r); err != nil {
		n.Log.Debug("the head does not hear of the sites here", "error", err)
	}
}

// wanted takes in what the head wants: a release that is ready is served from this moment on.
func (n *Node) wanted(m bus.Message) {
	var w wants
	if err := m.Decode(&w); err != nil {
		n.Log.Warn("an unreadable order", "error", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	named := map[string]bool{}
	for _, one := range w.Sites {
		if CheckName(one.Spec.Name) == nil {
			named[one.Spec.Name] = true
			n.open(one.Spec.Name).aim(one, w.Staging[one.Spec.Name])
		}
	}
	for name, h := range n.hosted {
		if !named[name] {
			h.dismiss(w.Staging[name])
		}
	}
}

// linked is what the node has while it is connected; nil before.
func (n *Node) linked() *Links {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links
}

// open is the site of that name, new or not; n.mu is held.
func (n *Node) open(name string) *hosted {
	h := n.hosted[name]
	if h == nil {
		h = newHosted(n, name)
		n.hosted[name] = h
		n.work.Go(func() { h.run(n.life) })
	}
	return h
}

// stage makes a release ready and reports on the way.
func (n *Node) stage(ctx context.Context, _ bus.Caller, o stageOrder, out *bus.Stream) error {
	if err := o.Spec.Check(); err != nil {
		return err
	}
	n.mu.Lock()
	h := n.open(o.Spec.Name)
	h.stagings++
	n.mu.Unlock()
	told := time.Time{}
	o.Turns = artefact.Turns(ctx, out)
	moved, err := h.stage(ctx, o, func(done, total int64) {
		if now := time.Now(); done == total || now.Sub(told) >= tellEvery {
			told = now
			out.SendJSON(stageNews{Done: done, Total: total}) // who has gone is noticed elsewhere
		}
	})
	n.mu.Lock()
	h.stagings--
	h.signal()
	n.mu.Unlock()
	n.report()
	last := stageNews{Ended: true, Moved: moved}
	if err != nil {
		last.Fault = fault.Of(err)
	}
	return out.SendJSON(last)
}

// tellEvery is how often a node says how far it is.
const tellEvery = 200 * time.Millisecond
