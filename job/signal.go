package job

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bramble/bus"
	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
)

// signalRequest asks for a signal to what runs of a job.
type signalRequest struct {
	ID     ID     `json:"id"`
	Index  *int   `json:"index,omitempty"`  // of the task; none: all that run
	Signal string `json:"signal"`           // such as "USR1"
	Leader bool   `json:"leader,omitempty"` // to the command alone, not to what it has started
}

// signalOrder has a node send it.
type signalOrder struct {
	Keys   []Key  `json:"keys"`
	Signal string `json:"signal"` // as the keeper has it
}

// signal sends a signal to the processes of a job's running tasks.
func (s *Service) signal(ctx context.Context, who bus.Caller, req signalRequest) (Summary, error) {
	sum, err := s.lookUp(ctx, req.ID)
	if err == nil {
		err = mine(who, sum, "signal")
	}
	if err == nil && host.SignalNumber("SIG"+strings.TrimPrefix(req.Signal, "SIG")) == 0 {
		err = fault.New(fault.Misused, "no signal is called %.40q", req.Signal).Hint("USR1, HUP, INT, STOP or CONT")
	}
	if err != nil {
		return sum, err
	}
	byNode := map[string][]Key{}
	if err := s.ask(ctx, func(st *State) {
		for _, p := range st.Placements(req.ID) {
			if !p.Waiting && (req.Index == nil || *req.Index == p.Index) {
				byNode[p.Node] = append(byNode[p.Node], p.Key)
			}
		}
	}); err != nil {
		return sum, err
	}
	if len(byNode) == 0 {
		return sum, fault.New(fault.Conflict, "nothing of job %d runs that could be sent %s", req.ID, req.Signal).Hint("bramble job %d", req.ID)
	}
	var failed []error
	for node, keys := range byNode {
		if err := s.Conn.Call(ctx, bus.Node("job", node, "signal"), signalOrder{keys, toKeeper(req.Signal, req.Leader)}, nil); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", node, err))
		}
	}
	s.audit(who, req.ID, fmt.Sprintf("%s sent %s to job %d", who.Name, req.Signal, req.ID))
	return sum, errors.Join(failed...)
}

// sendSignal passes a signal on to attempts that run here; one that has ended meanwhile ignores it.
func (n *Node) sendSignal(ctx context.Context, _ bus.Caller, o signalOrder) (none, error) {
	var failed []error
	for _, k := range o.Keys {
		if n.runs(k) {
			failed = append(failed, n.Keeper.Signal(ctx, k.String(), o.Signal))
		}
	}
	return none{}, errors.Join(failed...)
}

func toKeeper(signal string, leader bool) string {
	if leader {
		return keeper.Leader + signal
	}
	return signal
}

func (n *Node) runs(k Key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return find(n.slots.running, k) >= 0
}
