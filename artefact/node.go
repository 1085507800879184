package artefact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bramble/bus"
	"bramble/fault"
)

// Node is the node's half of Push and Pull.
type Node struct {
	Conn     *bus.Conn
	Store    *Store
	Blobs    *Client                      // where the head has its blobs
	Near     func(address string) *Client // where another node has its own; nil: all comes from the head
	Host     Starter
	Accounts Accounts
	Porter   []string // the program that calls RunPorter with its standard input, and its arguments
	Log      *slog.Logger

	next    atomic.Int64
	working handlers
}

// Run serves until ctx ends, and keeps the store's folder from growing for ever.
func (n *Node) Run(ctx context.Context) error {
	name := n.Conn.Who().Name
	err := errors.Join(
		unpinAll(n.Store),
		bus.HandleStream(ctx, n.Conn, bus.Node("artefact", name, "fetch"), n.fetch),
		bus.HandleStream(ctx, n.Conn, bus.Node("artefact", name, "read"), n.read),
	)
	if err != nil {
		return err
	}
	err = collectNowAndThen(ctx, n.Store, n.Log)
	n.working.wait()
	return err
}

// fetch brings a tree here and lays it out.
func (n *Node) fetch(ctx context.Context, _ bus.Caller, t fetchTask, out *bus.Stream) error {
	leave, err := n.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	end, err := n.fetchAndLay(ctx, t, out)
	return reportEnd(ctx, out, end, err)
}

func (n *Node) fetchAndLay(ctx context.Context, t fetchTask, out *bus.Stream) (End, error) {
	pin := fmt.Sprintf("%s%d", pinPrefix, n.next.Add(1))
	defer n.Store.Unpin(pin)
	tell := &teller{out: out, step: Fetching}
	t.Turns = Turns(ctx, out)
	m, moved, err := n.bring(ctx, pin, t, tell.set)
	if err != nil {
		return End{}, err
	}
	end := sumOf(m)
	end.Moved = moved
	placing := &teller{out: out, step: Placing, total: end.Bytes}
	return end, n.lay(ctx, t, m, placing.add)
}

// reportEnd tells how it went; when ctx has ended and somebody still listens, it is the agent that stops.
func reportEnd(ctx context.Context, out *bus.Stream, end End, err error) error {
	switch {
	case err != nil && ctx.Err() != nil:
		end = End{Code: fault.Unreachable, Error: "the agent there was stopped", Try: "bramble nodes", Lost: true}
	case err != nil:
		end = *failed(err)
	}
	return out.SendJSON(Event{Kind: Ended, End: &end})
}

// Bring fetches the tree that list names, which the pin holds from the moment that its list is known. moved is how many bytes
// had to come over the network. A list whose size is known comes as its files do: what an earlier one had too does not move.
func (n *Node) Bring(ctx context.Context, pin string, list Blob, way Way, tell Progress) (m Manifest, moved int64, err error) {
	t := fetchTask{Ref: list.Ref, Way: way}
	h := n.herald(pin, list.Ref)
	defer func() { h.end(err) }()
	if list.Size > MaxManifest {
		return m, 0, tooLong(int(list.Size))
	}
	if list.Size >= 0 {
		if err := n.Store.Pin(pin, list.Ref); err != nil {
			return m, 0, err
		}
		head, near := t.clientsFor(n.Blobs, n.near(t.From))
		chain := &Chain{Head: head, Near: near, Log: n.Log}
		if err := chain.Fetch(ctx, n.Store, []Blob{list}, nil); err != nil {
			return m, 0, err
		}
	}
	return n.bring(ctx, pin, t, h.over(tell))
}

func (n *Node) bring(ctx context.Context, pin string, t fetchTask, tell Progress) (m Manifest, moved int64, err error) {
	if err := n.Store.Pin(pin, t.Ref); err != nil {
		return Manifest{}, 0, err
	}
	if err := n.Blobs.fetch(ctx, n.Store, []Blob{{t.Ref, -1}}, MaxManifest, nil); err != nil {
		return Manifest{}, 0, err
	}
	if m, err = n.Store.GetManifest(ctx, t.Ref); err != nil {
		return Manifest{}, 0, err
	}
	if err := n.Store.Pin(pin, refsOf(m)...); err != nil {
		return Manifest{}, 0, err
	}
	moved -= n.Store.begun(m) // an earlier try has brought it, and it counts as done once it is looked at
	head, near := t.clientsFor(n.Blobs, n.near(t.From))
	chain := &Chain{Head: head, Near: near, Limit: t.Limit, Log: n.Log}
	ctx, stop := context.WithCancel(ctx)
	var turning sync.WaitGroup
	turning.Go(func() {
		for {
			select {
			case from := <-t.Turns:
				_, near := t.clientsFor(n.Blobs, n.near(from))
				chain.Reroute(near)
			case <-ctx.Done():
				return
			}
		}
	})
	steps, want, whole := &teller{}, m.Blobs(), int64(0)
	if t.Lacking != nil {
		all := bytesOf(want)
		want = t.Lacking(ctx, want)
		whole = all - bytesOf(want)
	}
	err = chain.Fetch(ctx, n.Store, want, func(done, total int64) {
		steps.note(done, total)
		if tell != nil {
			tell(whole+done, whole+total)
		}
	})
	stop()
	turning.Wait()
	return m, moved + steps.moved() - chain.Saved(), err
}

// near are the agents at these addresses.
func (n *Node) near(from []string) (near []*Client) {
	if n.Near == nil {
		return nil
	}
	for _, address := range from[:min(nearest, len(from))] {
		near = append(near, n.Near(address))
	}
	return near
}

// read looks through the account's files and gives the head what it lacks of them.
func (n *Node) read(ctx context.Context, _ bus.Caller, t readTask, out *bus.Stream) error {
	leave, err := n.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := out.SendJSON(Event{Kind: Moving, Step: Reading}); err != nil {
		return err
	}
	var end End
	err = n.collect(ctx, t, func(m Manifest, skipped []Skipped, files Opener) (err error) {
		end, err = n.offer(ctx, out, m, skipped, files)
		return err
	})
	return reportEnd(ctx, out, end, err)
}

func (n *Node) offer(ctx context.Context, out *bus.Stream, m Manifest, skipped []Skipped, files Opener) (End, error) {
	for part := range skippedFrames(skipped) {
		if err := out.SendJSON(Event{Kind: LeftOut, Skipped: part}); err != nil {
			return End{}, err
		}
	}
	tell := &teller{out: out, step: Sending}
	end := sumOf(m)
	var err error
	end.Ref, err = n.Blobs.Upload(ctx, files, m, tell.set)
	end.Moved = tell.moved()
	return end, err
}

// handlers are the ones at work, for which a Run waits before its store may be closed.
type handlers struct{ lock sync.RWMutex }

// enter fails once ctx, which is a part of Run's, has ended.
func (h *handlers) enter(ctx context.Context) (leave func(), err error) {
	h.lock.RLock()
	if err := ctx.Err(); err != nil {
		h.lock.RUnlock()
		return nil, err
	}
	return h.lock.RUnlock, nil
}

func (h *handlers) wait() {
	h.lock.Lock()
	defer h.lock.Unlock()
}

// tellEvery is how often a node says how far it is.
const tellEvery = 200 * time.Millisecond

// teller reports on one step of a node's work.
type teller struct {
	out  *bus.Stream
	step string

	mu          sync.Mutex
	first, done int64
	total       int64
	begun       bool
	told        time.Time
}

// set is a Progress.
func (t *teller) set(done, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(done, total)
	t.say()
}

// note takes in how far the step is.
func (t *teller) note(done, total int64) {
	if !t.begun {
		t.begun, t.first = true, done
	}
	t.done, t.total = done, total
}

func (t *teller) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += n
	t.say()
}

// say sends at most a few messages a second; t.mu is held.
func (t *teller) say() {
	now := time.Now()
	if t.done < t.total && now.Sub(t.told) < tellEvery {
		return
	}
	t.told = now
	t.out.SendJSON(Event{Kind: Moving, Step: t.step, Done: t.done, Total: t.total}) // who has gone is noticed elsewhere
}

// moved is how many bytes came or went.
func (t *teller) moved() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done - t.first
}

// pinPrefix begins the names of pins that hold something only while it is copied.
const pinPrefix = "copy-"

// unpinAll lets go of what an agent that was killed had pinned.
func unpinAll(s *Store) error {
	names, err := s.Pins()
	for _, name := range names {
		if strings.HasPrefix(name, pinPrefix) {
			err = errors.Join(err, s.Unpin(name))
		}
	}
	return err
}

// collectEvery is how often a store is looked through for what nobody needs any more.
const collectEvery = 10 * time.Minute

// collectNowAndThen runs until ctx ends.
func collectNowAndThen(ctx context.Context, s *Store, log *slog.Logger) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sum, err := s.Collect(ctx)
		if err != nil && ctx.Err() == nil {
			log.Error("old files are not removed", "error", err)
		}
		if sum.Files > 0 {
			log.Info("removed old files", "files", sum.Files, "bytes", sum.Bytes)
		}
	}
}
