package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/trust"
)

// answer registers what the room is asked.
func (s *Service) answer(ctx context.Context) error {
	return errors.Join(
		bus.Handle(ctx, s.Conn, "job.do.submit", s.submit),
		bus.Handle(ctx, s.Conn, "job.do.cancel", s.cancel),
		bus.Handle(ctx, s.Conn, "job.read.job", s.detail),
		bus.HandleStream(ctx, s.Conn, "job.read.list", s.list),
		bus.HandleStream(ctx, s.Conn, "job.read.watch", s.watch),
		bus.HandleStream(ctx, s.Conn, "job.read.logs", s.logs),
		bus.HandleStream(ctx, s.Conn, "job.read.returns", s.returns),
		s.answerManage(ctx),
		bus.Handle(ctx, s.Conn, bus.From("job", "*", "hello"), s.hello),
		bus.Handle(ctx, s.Conn, bus.From("job", "*", "report"), s.report),
		bus.Handle(ctx, s.Conn, bus.From("job", "*", "spec"), s.spec),
		bus.Handle(ctx, s.Conn, bus.From("job", "*", "step"), s.step),
		bus.Handle(ctx, s.Conn, bus.From("job", "*", "certify"), s.certify),
	)
}

func (s *Service) audit(who bus.Caller, id ID, text string) {
	s.Events.Record(event.Event{Kind: event.Audit, Room: "job", User: who.Name, Job: int64(id), Text: text})
}

// mine refuses what is only for the job's owner and for admins.
func mine(who bus.Caller, sum Summary, what string) error {
	if who.Name == sum.Spec.User || who.Role == trust.Admin {
		return nil
	}
	return fault.New(fault.Denied, "job %d is %s's; only %s and admins may %s it", sum.ID, sum.Spec.User, sum.Spec.User, what)
}

// lookUp finds a job.
func (s *Service) lookUp(ctx context.Context, id ID) (sum Summary, err error) {
	var known bool
	var last ID
	if err := s.ask(ctx, func(st *State) { sum, known = st.Job(id); last = st.Last() }); err != nil {
		return sum, err
	}
	if !known {
		return sum, unknownJob(id, last)
	}
	return sum, nil
}

func (s *Service) cancel(ctx context.Context, who bus.Caller, req cancelRequest) (Summary, error) {
	sum, err := s.lookUp(ctx, req.ID)
	if err == nil {
		err = mine(who, sum, "cancel")
	}
	if err != nil {
		return sum, err
	}
	if !sum.Ended.IsZero() {
		return sum, fault.New(fault.Conflict, "job %d has ended already: %s", req.ID, countsText(sum.Counts))
	}
	what := fmt.Sprintf("job %d", req.ID)
	if req.Index != nil {
		what = fmt.Sprintf("task %d of job %d", *req.Index, req.ID)
		var known bool
		if err := s.ask(ctx, func(st *State) { _, known = st.TaskState(req.ID, *req.Index) }); err != nil || !known {
			return sum, cmp.Or(err, noTask(req.ID, *req.Index, sum.Spec.Array))
		}
	}
	written := make(chan struct{})
	if err := s.inLoop(ctx, func() {
		s.when(s.happen(Cancel{ID: req.ID, Index: req.Index, By: who.Name}), func() { close(written) })
	}); err != nil {
		return sum, err
	}
	select {
	case <-written:
	case <-ctx.Done():
		return sum, ctx.Err()
	case <-time.After(acceptWithin):
		return sum, fault.New(fault.Full, "the head cannot write its journal now; job %d is cancelled once it can", req.ID).Hint("free space on the head's disk")
	}
	s.audit(who, req.ID, who.Name+" cancelled "+what)
	return s.lookUp(ctx, req.ID)
}

func (s *Service) detail(ctx context.Context, who bus.Caller, req idRequest) (Detail, error) {
	var d Detail
	var known bool
	var last ID
	err := s.ask(ctx, func(st *State) {
		last = st.Last()
		if d.Summary, known = st.Job(req.ID); !known {
			return
		}
		d.Why = st.Why(req.ID)
		d.Failures, d.Placements = st.Failures(req.ID), st.Placements(req.ID)
		d.Indices = map[string]string{}
		for _, state := range []TaskState{Pending, Running, Done, Failed, Cancelled} {
			d.Indices[string(state)] = st.Tasks(req.ID, state)
		}
	})
	if err != nil {
		return d, err
	}
	if !known {
		return d, unknownJob(req.ID, last)
	}
	d.Placements = d.Placements[:min(len(d.Placements), MaxPlacements)]
	d.Failures = d.Failures[:min(len(d.Failures), MaxPlacements)]
	d.Spec.Script, d.Spec.Env, d.Spec.Token = d.Spec.Script[:min(len(d.Spec.Script), 64<<10)], nil, ""
	d.Summary = private(who, d.Summary)
	return d, nil
}

func (s *Service) list(ctx context.Context, who bus.Caller, req ListRequest, out *bus.Stream) error {
	var jobs []Summary
	if err := s.ask(ctx, func(st *State) { jobs = st.List(req) }); err != nil {
		return err
	}
	for _, j := range jobs {
		if err := out.SendJSON(private(who, brief(j))); err != nil {
			return err
		}
	}
	return nil
}

// private is a summary without what only the job's owner and admins may see: what it runs beyond its first words,
// what it is told, and the names by which its files could be had.
func private(who bus.Caller, j Summary) Summary {
	if mine(who, j, "look into") != nil {
		j.Spec.Script, j.Spec.Env, j.Spec.Inputs, j.Spec.Token = nil, nil, "", ""
	}
	return j
}

// brief is a summary without what can be large.
func brief(j Summary) Summary {
	j.Spec.Script, j.Spec.Env, j.Spec.Token = nil, nil, ""
	for i, a := range j.Spec.Args {
		if i == 16 || len(a) > 256 {
			j.Spec.Args = append(slices.Clone(j.Spec.Args[:i]), "…")
			break
		}
	}
	return j
}

// watchEvery is the least time between two messages to one who watches, but for the last one.
const watchEvery = 100 * time.Millisecond

// watch sends a job's summary at each change until it has ended.
func (s *Service) watch(ctx context.Context, who bus.Caller, req idRequest, out *bus.Stream) error {
	var before Counts
	for first := true; ; first = false {
		changed := s.changes()
		sum, over, err := s.look(ctx, req.ID)
		if err != nil {
			return err
		}
		if first || sum.Counts != before || !sum.Ended.IsZero() {
			before = sum.Counts
			if err := out.SendJSON(private(who, brief(sum))); err != nil {
				return err
			}
		}
		if !sum.Ended.IsZero() {
			return nil
		}
		select {
		case <-over:
			continue
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
		select {
		case <-over:
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// look is a job's summary, made once for all who watch it, and a channel that closes when it has ended.
func (s *Service) look(ctx context.Context, id ID) (sum Summary, over <-chan struct{}, err error) {
	var known bool
	var last ID
	err = s.ask(ctx, func(st *State) {
		if sum, known = s.sums[id]; !known {
			if sum, known = st.Job(id); !known {
				last = st.Last()
				return
			}
			if !sum.Ended.IsZero() && !s.settled(id) { // nobody is told of an end that may yet be lost
				sum.Ended, sum.State = time.Time{}, Running
			}
			s.sums[id] = sum
		}
		if sum.Ended.IsZero() {
			if s.over[id] == nil {
				s.over[id] = make(chan struct{})
			}
			over = s.over[id]
		}
	})
	if err == nil && !known {
		err = unknownJob(id, last)
	}
	return sum, over, err
}

// hello is a node's word that it is there; it is asked what it holds.
func (s *Service) hello(ctx context.Context, who bus.Caller, _ none) (none, error) {
	return none{}, s.inLoop(ctx, func() { s.courier(who.Name).resync() })
}

// report takes in what became of attempts. Output too large for the report is fetched before its result counts.
func (s *Service) report(ctx context.Context, who bus.Caller, data []byte) (none, error) {
	r, err := readReport(data)
	if err != nil {
		return none{}, unreadable("a report", err)
	}
	whole := r.Results[:0]
	var large []Result
	for _, res := range r.Results {
		res.Node = who.Name
		if int64(len(res.Stdout)) < res.OutSize || int64(len(res.Stderr)) < res.ErrSize {
			large = append(large, res)
		} else {
			whole = append(whole, complete(res))
		}
	}
	return none{}, s.inLoop(ctx, func() {
		if len(r.Started) > 0 {
			s.happen(Started{Node: who.Name, Keys: r.Started})
		}
		if len(whole) > 0 {
			s.happen(Ended{Node: who.Name, Results: whole})
		}
		if len(r.Rejected) > 0 {
			s.happen(Rejected{Node: who.Name, Keys: r.Rejected, Reason: r.Reason})
		}
		for _, res := range large {
			s.fetch(who.Name, res)
		}
	})
}

// spec tells a node what a job is; only one that has work of it is told.
func (s *Service) spec(ctx context.Context, who bus.Caller, req idRequest) (Spec, error) {
	var spec Spec
	var known bool
	err := s.ask(ctx, func(st *State) {
		if st.HasWork(who.Name, req.ID) {
			spec, known = st.Spec(req.ID)
		}
	})
	if err == nil && !known {
		err = unknownJob(req.ID, 0)
	}
	return spec, err
}

type none struct{}
