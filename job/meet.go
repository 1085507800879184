package job

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"bramble/fault"
)

// Ranks of a step find each other at a meeting, which the leader of their allocation holds: they put values under
// names, get each other's, and wait for each other at fences.

// Meet is what a rank asks of its step's meeting.
type Meet struct {
	Name  string `json:"name,omitempty"`  // of a value or a fence
	Value []byte `json:"value,omitempty"` // to be put
	Text  string `json:"text,omitempty"`
}

// Limits of a meeting, for all steps of an allocation together.
const (
	MaxValue    = 64 << 10 // bytes
	maxValues   = 64 << 10
	maxMet      = 16 << 20  // bytes of all names and values
	maxNoted    = 128 << 10 // ranks that wait at fences or are lost
	maxMeetName = 256
	maxMeetings = 4096 // steps
)

const (
	doPut   = "put"
	doGet   = "get"   // waits until the name was put
	doFence = "fence" // waits until all ranks of the step have come to the fence of this name, which may then be used again
	doLost  = "lost"  // says that a rank has failed for good, so that nobody waits for it
	doOver  = "over"  // says that the step has ended: what its ranks have put is forgotten
)

func meets(do string) bool {
	return do == doPut || do == doGet || do == doFence || do == doLost || do == doOver
}

// meeting is where ranks of an allocation's steps meet.
type meeting struct {
	mu     sync.Mutex
	steps  map[string]*gathering
	size   int // bytes of all names and values
	values int
	noted  int
	closed bool
}

// gathering is what ranks of one step have said.
type gathering struct {
	changed chan struct{} // closed and replaced when a value was put or a rank was lost
	values  map[string][]byte
	fences  map[string]*fence
	lost    map[int]bool
	over    error // why nobody is to wait any more
}

// fence is one that not all have come to yet.
type fence struct {
	come map[int]bool
	open chan struct{} // closed when they may go on
	err  error         // then: why they may not
}

func newMeeting() *meeting { return &meeting{steps: map[string]*gathering{}} }

// do answers a rank; it may wait for others until ctx ends.
func (m *meeting) do(ctx context.Context, req StepRequest) (any, error) {
	r := req.Rank
	switch {
	case r.Step == "" || r.Ranks < 1 || r.Rank < 0 || r.Rank >= r.Ranks || r.Ranks > maxNoted:
		return nil, fault.New(fault.Misused, "only a rank of a step may ask this")
	case len(r.Step) > maxMeetName || len(req.Name) > maxMeetName:
		return nil, fault.New(fault.Misused, "a name of %d bytes is too long", max(len(r.Step), len(req.Name)))
	}
	switch req.Do {
	case doPut:
		return nil, m.put(r, req.Name, req.Value)
	case doFence:
		return nil, m.fence(ctx, r, req.Name)
	case doLost:
		return nil, m.lose(r)
	case doOver:
		return nil, m.forget(r.Step)
	}
	return m.get(ctx, r, req.Name)
}

// gathered is what was said in a step. m.mu is held.
func (m *meeting) gathered(step string) (*gathering, error) {
	g := m.steps[step]
	switch {
	case m.closed:
		return nil, fault.New(fault.Conflict, "the allocation is over")
	case g == nil && len(m.steps) >= maxMeetings:
		return nil, fault.New(fault.Full, "the ranks of %d steps meet in this allocation, and no more may", maxMeetings)
	case g == nil:
		g = &gathering{changed: make(chan struct{}), values: map[string][]byte{}, fences: map[string]*fence{}, lost: map[int]bool{}}
		m.steps[step] = g
	}
	return g, nil
}

func (m *meeting) put(r Rank, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := m.gathered(r.Step)
	if err != nil {
		return err
	}
	old, known := g.values[name]
	more := len(value) - len(old)
	if !known {
		more += len(name)
	}
	switch {
	case len(value) > MaxValue:
		return fault.New(fault.Full, "a value of %d bytes is over the limit of %d", len(value), MaxValue).Hint("send large data between the ranks themselves")
	case m.size+more > maxMet || !known && m.values >= maxValues:
		return fault.New(fault.Full, "the ranks of this allocation have put %d values of %s together, and may put no more", m.values, bytesText(int64(m.size)))
	}
	if !known {
		m.values++
	}
	m.size += more
	g.values[name] = value
	g.wake()
	return nil
}

// get waits while somebody may still put the value.
func (m *meeting) get(ctx context.Context, r Rank, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := m.gathered(r.Step)
	if err != nil {
		return nil, err
	}
	for {
		value, known := g.values[name]
		switch missed := g.missed(r, map[int]bool{r.Rank: true}); {
		case known:
			return value, nil
		case g.over != nil:
			return nil, g.over
		case missed != nil:
			return nil, missed
		case r.Ranks > 1 && g.isLast(r):
			return nil, fault.New(fault.Failed, "all ranks are lost that could have put %.50q", name)
		}
		changed := g.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			err = fault.New(fault.Interrupted, "interrupted")
		}
		m.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
}

// isLast reports whether all others are lost. m.mu is held.
func (g *gathering) isLast(r Rank) bool {
	others := len(g.lost)
	if g.lost[r.Rank] {
		others--
	}
	return others >= r.Ranks-1
}

// missed is what to tell a rank that waits when one was lost that is not among those who have come; m.mu is held.
func (g *gathering) missed(r Rank, come map[int]bool) error {
	for rank := range g.lost {
		if !r.Alone && !come[rank] {
			return fault.New(fault.Failed, "rank %d of the step was lost", rank)
		}
	}
	return nil
}

func (m *meeting) fence(ctx context.Context, r Rank, name string) error {
	f, err := m.arrive(r, name)
	if err != nil {
		return err
	}
	select {
	case <-f.open:
		return f.err
	case <-ctx.Done():
		return fault.New(fault.Interrupted, "interrupted")
	}
}

// arrive notes that a rank has come to a fence, which opens when it was the last.
func (m *meeting) arrive(r Rank, name string) (*fence, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := m.gathered(r.Step)
	if err != nil {
		return nil, err
	}
	if m.noted >= maxNoted {
		return nil, fault.New(fault.Full, "%d ranks wait at the fences of this allocation, and no more may", maxNoted)
	}
	f := g.fences[name]
	if f == nil {
		f = &fence{come: map[int]bool{}, open: make(chan struct{})}
		g.fences[name] = f
	}
	if !f.come[r.Rank] {
		f.come[r.Rank] = true
		m.noted++
	}
	m.settle(g, name, r)
	return f, nil
}

// settle opens a fence when all ranks have come, or all that are left, or one was lost that the others can't do without. m.mu is held.
func (m *meeting) settle(g *gathering, name string, r Rank) {
	f := g.fences[name]
	here := len(f.come)
	for rank := range g.lost {
		if !f.come[rank] {
			here++
		}
	}
	if f.err = g.missed(r, f.come); f.err != nil || here >= r.Ranks {
		m.release(g, name)
	}
}

// release lets those go on who wait at a fence. m.mu is held.
func (m *meeting) release(g *gathering, name string) {
	f := g.fences[name]
	m.noted -= len(f.come)
	delete(g.fences, name)
	close(f.open)
}

// lose notes that a rank comes no more.
func (m *meeting) lose(r Rank) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := m.gathered(r.Step)
	if err != nil || g.lost[r.Rank] {
		return err
	}
	g.lost[r.Rank] = true
	m.noted++
	for name := range g.fences {
		m.settle(g, name, r)
	}
	g.wake()
	return nil
}

// forget drops what was said in a step; who waits in it still is told.
func (m *meeting) forget(step string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.steps[step]
	if g == nil {
		return nil
	}
	m.end(g, fault.New(fault.Conflict, "the step is over"))
	for name, value := range g.values {
		m.size -= len(name) + len(value)
	}
	m.values -= len(g.values)
	m.noted -= len(g.lost)
	delete(m.steps, step)
	return nil
}

// end tells all who wait in a step that they do so in vain. m.mu is held.
func (m *meeting) end(g *gathering, why error) {
	g.over = why
	for name, f := range g.fences {
		f.err = why
		m.release(g, name)
	}
	g.wake()
}

// wake has those who wait for a value look again; the meeting's lock is held.
func (g *gathering) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (m *meeting) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, g := range m.steps {
		m.end(g, fault.New(fault.Conflict, "the allocation is over"))
	}
}

// Self is which rank of a step a process with such an environment is; fault.Misused when it is none.
func Self(getenv func(string) string) (r Rank, err error) {
	r.Step = getenv("BRAMBLE_STEP")
	if _, err = fmt.Sscan(getenv("BRAMBLE_RANK")+" "+getenv("BRAMBLE_RANKS"), &r.Rank, &r.Ranks); err != nil || r.Step == "" {
		return r, fault.New(fault.Misused, "this process is no rank of a step").Hint("bramble step -n 4 -- COMMAND, inside an allocation")
	}
	r.Alone = getenv("BRAMBLE_KEEP_GOING") != ""
	return r, nil
}

// Put gives all ranks of the step a value to get.
func (in Inside) Put(ctx context.Context, r Rank, name string, value []byte) error {
	return in.call(ctx, StepRequest{Do: doPut, StepCommand: StepCommand{Rank: r}, Meet: Meet{Name: name, Value: value}}, nil)
}

// Get waits for a value that some rank of the step puts.
func (in Inside) Get(ctx context.Context, r Rank, name string) (value []byte, err error) {
	err = in.call(ctx, StepRequest{Do: doGet, StepCommand: StepCommand{Rank: r}, Meet: Meet{Name: name}}, &value)
	return value, err
}

// Fence waits until every rank of the step has come to the fence of this name, which may then be used again.
func (in Inside) Fence(ctx context.Context, r Rank, name string) error {
	return in.call(ctx, StepRequest{Do: doFence, StepCommand: StepCommand{Rank: r}, Meet: Meet{Name: name}}, nil)
}

// Over forgets what the ranks of a step have put.
func (in Inside) Over(ctx context.Context, r Rank) error {
	return in.call(ctx, StepRequest{Do: doOver, StepCommand: StepCommand{Rank: r}}, nil)
}

// Lost says that a rank has failed: others are freed that wait for it.
func (in Inside) Lost(ctx context.Context, r Rank) error {
	return in.call(ctx, StepRequest{Do: doLost, StepCommand: StepCommand{Rank: r}}, nil)
}

// Nodes is the nodes of the allocation, leader first.
func (in Inside) Nodes(ctx context.Context) (list []Peer, err error) {
	err = in.call(ctx, StepRequest{Do: doNodes}, &list)
	return list, err
}

// Explain says why the allocation's command is about to fail; the job's error carries it. Only its leader can.
func (in Inside) Explain(ctx context.Context, text string) error {
	return in.call(ctx, StepRequest{Do: doExplain, Meet: Meet{Text: text}}, nil)
}

func fourBytes(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
