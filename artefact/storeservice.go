package artefact

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
)

// StoreRequest asks something of the stores of a selection, or of all that is kept.
type StoreRequest struct {
	On       string         `json:"on"`
	Task     StoreTask      `json:"task"`
	Patience *time.Duration `json:"patience,omitempty"` // settle: how long a node may be away before others get copies of what it keeps
}

func (s *Stores) setPatience(ctx context.Context, d time.Duration) error {
	if d < MinPatience {
		return fault.New(fault.Misused, "a node cannot be given up after %s: it may only be starting anew", d).Hint("--patience %s or more", MinPatience)
	}
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := s.Books.Put(ctx, patienceKey, data); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patience = d
	return nil
}

// look lists what stores hold; tend changes what operators may, and settle what admins may.
func (s *Stores) look(ctx context.Context, who bus.Caller, req StoreRequest, out *bus.Stream) error {
	return s.each(ctx, who, req, out, OpList, OpPins)
}

func (s *Stores) tend(ctx context.Context, who bus.Caller, req StoreRequest, out *bus.Stream) error {
	return s.each(ctx, who, req, out, OpGC, OpVerify, OpPin, OpUnpin)
}

func (s *Stores) settle(ctx context.Context, who bus.Caller, req StoreRequest, out *bus.Stream) error {
	if req.Patience != nil {
		if err := s.setPatience(ctx, *req.Patience); err != nil {
			return err
		}
		s.audit(who, who.Name+" set how long a node may be away to "+req.Patience.String())
	}
	if req.Task.Keep == nil && req.Task.Every == nil {
		return nil
	}
	return s.each(ctx, who, req, out, OpSet)
}

// each has the stores of the selected nodes do a task; the head's own store is one of the head's machine.
func (s *Stores) each(ctx context.Context, who bus.Caller, req StoreRequest, out *bus.Stream, may ...Op) error {
	leave, err := s.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !slices.Contains(may, req.Task.Op) {
		return fault.New(fault.Misused, "%q is none of %v", req.Task.Op, may)
	}
	if req.Task.Op == OpPin || req.Task.Op == OpUnpin {
		if err := checkPin(userPrefix + req.Task.Name); err != nil || req.Task.Name == "" {
			return fault.New(fault.Misused, "%.80q is not a pin's name: small letters, digits, dots and dashes", req.Task.Name).Hint("a name such as data-set")
		}
	}
	nodes, err := s.Select(req.On)
	if err != nil {
		return err
	}
	if text := auditOf(req); text != "" {
		s.audit(who, who.Name+" "+text)
	}
	var mu sync.Mutex
	tell := func(ev StoreEvent) error {
		mu.Lock()
		defer mu.Unlock()
		return out.SendJSON(ev)
	}
	for part := range slices.Chunk(namesOf(nodes), 512) {
		if err := tell(StoreEvent{Names: part}); err != nil {
			return err
		}
	}
	return parallel(ctx, 4*width, len(nodes), func(ctx context.Context, i int) error {
		end := s.oneStore(ctx, nodes[i], req.Task, tell)
		return tell(StoreEvent{Node: nodes[i].Name, End: end})
	})
}

func namesOf(nodes []fleet.Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return names
}

func auditOf(req StoreRequest) string {
	switch req.Task.Op {
	case OpGC:
		return "has stores of " + clip(req.On) + " remove what nobody needs"
	case OpSet:
		return "set what stores of " + clip(req.On) + " keep"
	case OpPin, OpUnpin:
		return string(req.Task.Op) + "s " + strings.TrimSpace(req.Task.Name) + " in stores of " + clip(req.On)
	}
	return ""
}

// oneStore has a node's store do a task, and on the head's machine the head's too.
func (s *Stores) oneStore(ctx context.Context, n fleet.Node, t StoreTask, tell func(StoreEvent) error) *End {
	var err error
	if n.Name == s.Self {
		err = s.Store.work(ctx, t, func(ev StoreEvent) error {
			ev.Node, ev.Head = n.Name, true
			return tell(ev)
		})
	}
	if n.State == fleet.Down {
		return isDown()
	}
	in, failure := s.Conn.Open(ctx, bus.Node("artefact", n.Name, "store"), t)
	if failure != nil {
		return silent(failure)
	}
	defer in.Close()
	here := err // of a pin it is enough that one of the two stores has it
	err = passOn(in, n.Name, tell)
	if fault.Is(err, fault.Unreachable) {
		return silent(err)
	}
	if n.Name == s.Self && (t.Op == OpPin || t.Op == OpUnpin) && (err == nil || here == nil) {
		return &End{}
	}
	if err == nil {
		err = here
	}
	if err != nil {
		return failed(err)
	}
	return &End{}
}

// passOn tells what a node's store says.
func passOn(in *bus.Stream, node string, tell func(StoreEvent) error) error {
	for data, err := range in.Messages() {
		var ev StoreEvent
		if err == nil {
			err = json.Unmarshal(data, &ev)
		}
		if err != nil {
			return err
		}
		ev.Node, ev.Head, ev.End, ev.Names = node, false, nil, nil
		if err := tell(ev); err != nil {
			return err
		}
	}
	return nil
}
