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
	maxValue    = 64 << 10 // bytes
	maxValues   = 64 << 10
	maxMet      = 16 << 20 // bytes of all names and values
	maxMeetName = 256
)

const (
	doPut   = "put"
	doGet   = "get"   // waits until the name was put
	doFence = "fence" // waits until all ranks of the step have come to the fence of this name
	doLost  = "lost"  // says that a rank has ended for good, so that nobody waits for it
)

func meets(do string) bool { return do == doPut || do == doGet || do == doFence || do == doLost }

// meeting is where ranks of an allocation's steps meet.
type meeting struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	size    int
	values  map[string][]byte       // by step and name
	fences  map[string]map[int]bool // by step and name: the ranks that have come
	lost    map[string]map[int]bool // by step
	closed  bool
}

func newMeeting() *meeting {
	return &meeting{changed: make(chan struct{}), values: map[string][]byte{}, fences: map[string]map[int]bool{}, lost: map[string]map[int]bool{}}
}

// do answers a rank; it may wait for others until ctx ends.
func (m *meeting) do(ctx context.Context, req StepRequest) (value any, err error) {
	r, place := req.Rank, req.Rank.Step+"\x00"+req.Name
	switch {
	case r.Step == "" || r.Ranks < 1 || r.Rank < 0 || r.Rank >= r.Ranks || r.Ranks > maxValues:
		return nil, fault.New(fault.Misused, "only a rank of a step may ask this")
	case len(place) > maxMeetName:
		return nil, fault.New(fault.Misused, "a name of %d bytes is too long", len(req.Name))
	case req.Do == doPut:
		return nil, m.put(place, req.Value)
	case req.Do == doLost:
		m.note(m.lost, r.Step, r.Rank)
		return nil, nil
	case req.Do == doFence:
		if err := m.arrive(place, r.Rank); err != nil {
			return nil, err
		}
		return nil, m.await(ctx, func() (bool, error) { return m.allAt(place, r) })
	}
	err = m.await(ctx, func() (bool, error) {
		v, known := m.values[place]
		value = v
		return known, nil
	})
	return value, err
}

func (m *meeting) put(place string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.values[place]
	more := len(value) - len(old)
	if !known {
		more += len(place)
	}
	switch {
	case len(value) > maxValue:
		return fault.New(fault.Full, "a value of %d bytes is over the limit of %d", len(value), maxValue).Hint("send large data between the ranks themselves")
	case m.size+more > maxMet || !known && len(m.values) >= maxValues:
		return fault.New(fault.Full, "the ranks of this allocation have put %d values of %s together, and may put no more", len(m.values), bytesText(int64(m.size)))
	}
	m.size += more
	m.values[place] = value
	m.wake()
	return nil
}

// arrive notes that a rank has come to a fence.
func (m *meeting) arrive(place string, rank int) error {
	m.mu.Lock()
	full := m.fences[place] == nil && len(m.fences) >= maxValues
	m.mu.Unlock()
	if full {
		return fault.New(fault.Full, "this allocation has %d fences, and may have no more", maxValues)
	}
	m.note(m.fences, place, rank)
	return nil
}

func (m *meeting) note(in map[string]map[int]bool, place string, rank int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if in[place] == nil {
		in[place] = map[int]bool{}
	}
	in[place][rank] = true
	m.wake()
}

// allAt reports whether all ranks have come, or all that are left; m.mu is held.
func (m *meeting) allAt(place string, r Rank) (bool, error) {
	come := len(m.fences[place])
	for rank := range m.lost[r.Step] {
		switch {
		case m.fences[place][rank]:
		case !r.Alone:
			return false, fault.New(fault.Failed, "rank %d of the step was lost", rank)
		default:
			come++
		}
	}
	return come >= r.Ranks, nil
}

// await returns when ok is, which is looked at with m.mu held.
func (m *meeting) await(ctx context.Context, ok func() (bool, error)) error {
	for {
		m.mu.Lock()
		done, err := ok()
		changed, closed := m.changed, m.closed
		m.mu.Unlock()
		switch {
		case done || err != nil:
			return err
		case closed:
			return fault.New(fault.Conflict, "the allocation is over")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fault.New(fault.Interrupted, "interrupted")
		}
	}
}

// wake has those who wait look again; m.mu is held.
func (m *meeting) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *meeting) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wake()
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

// Fence waits until every rank of the step has come to the fence of this name.
func (in Inside) Fence(ctx context.Context, r Rank, name string) error {
	return in.call(ctx, StepRequest{Do: doFence, StepCommand: StepCommand{Rank: r}, Meet: Meet{Name: name}}, nil)
}

// Lost says that a rank will come to no fence any more.
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
