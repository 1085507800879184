package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/sorts"
	"bramble/trust"
)

// answerManage registers what is asked of the room beside submitting and looking.
func (s *Service) answerManage(ctx context.Context) error {
	return errors.Join(
		s.answerLook(ctx),
		bus.Handle(ctx, s.Conn, "job.do.hold", s.hold),
		bus.Handle(ctx, s.Conn, "job.do.requeue", s.requeue),
		bus.Handle(ctx, s.Conn, "job.do.alter", s.alter),
		bus.Handle(ctx, s.Conn, "job.do.signal", s.signal),
		bus.Handle(ctx, s.Conn, "job.read.loads", s.loads),
		bus.Handle(ctx, s.Conn, "job.read.uses", s.uses),
		bus.Handle(ctx, s.Conn, "job.read.partitions", s.listPartitions),
		bus.Handle(ctx, s.Conn, "job.admin.partition-set", s.setPartition),
		bus.Handle(ctx, s.Conn, "job.admin.partition-remove", s.removePartition),
	)
}

// change lets an event happen to a job of the caller's and returns once it is on disk.
func (s *Service) change(ctx context.Context, who bus.Caller, id ID, did string, ev Event) (Summary, error) {
	sum, err := s.lookUp(ctx, id)
	if err == nil {
		err = mine(who, sum, did)
	}
	if err != nil {
		return sum, err
	}
	if !sum.Ended.IsZero() {
		return sum, fault.New(fault.Conflict, "job %d has ended already: %s", id, countsText(sum.Counts))
	}
	written := make(chan struct{})
	if err := s.inLoop(ctx, func() { s.when(s.happen(ev), func() { close(written) }) }); err != nil {
		return sum, err
	}
	select {
	case <-written:
	case <-ctx.Done():
		return sum, ctx.Err()
	case <-time.After(acceptWithin):
		return sum, fault.New(fault.Full, "the head cannot write its journal now; what was asked of job %d is done once it can", id).Hint("free space on the head's disk")
	}
	s.audit(who, id, fmt.Sprintf("%s: %s job %d", who.Name, did, id))
	return s.lookUp(ctx, id)
}

func (s *Service) hold(ctx context.Context, who bus.Caller, req holdRequest) (Summary, error) {
	did := "release"
	if req.On {
		did = "hold"
	} else if sum, err := s.lookUp(ctx, req.ID); err == nil && sum.HeldBy != "" && sum.HeldBy != who.Name && who.Role != trust.Admin {
		return sum, fault.New(fault.Denied, "%s holds job %d, so only %s and admins may release it", sum.HeldBy, req.ID, sum.HeldBy)
	}
	return s.change(ctx, who, req.ID, did, Hold{ID: req.ID, By: who.Name, On: req.On})
}

func (s *Service) requeue(ctx context.Context, who bus.Caller, req requeueRequest) (Summary, error) {
	return s.change(ctx, who, req.ID, "requeue", Requeue(req))
}

func (s *Service) alter(ctx context.Context, who bus.Caller, req alterRequest) (Summary, error) {
	sum, err := s.lookUp(ctx, req.ID)
	if err != nil {
		return sum, err
	}
	spec := sum.Spec
	j := job{spec: spec}
	j.applyAltered(req.Set)
	if err := s.mayBeNice(who, j.spec.Nice, spec.Nice); err != nil {
		return sum, err
	}
	if len(j.spec.Args) == 0 {
		j.spec.Args = []string{"script"} // a summary has none of its script
	}
	if _, err := j.spec.Validate(); err != nil {
		return sum, err
	}
	if p, err := s.partition(ctx, j.spec.Partition); err != nil {
		return sum, err
	} else if _, err := p.Admit(j.spec); err != nil && who.Role != trust.Admin {
		return sum, err
	}
	if sum, err = s.change(ctx, who, req.ID, "change", Alter(req)); err == nil && req.Set.Timeout != nil {
		err = s.ask(ctx, func(st *State) { sum.Keep = s.keepLimit(st, req.ID) })
	}
	return sum, err
}

// keepLimit is the nodes where what runs of a job keeps the limit that it began with. It runs in the loop.
func (s *Service) keepLimit(st *State, id ID) (names []string) {
	for _, p := range st.Placements(id) {
		if c := s.couriers[p.Node]; c != nil && c.deaf && !slices.Contains(names, p.Node) {
			names = append(names, p.Node)
		}
	}
	return names
}

// mayBeNice refuses to let anybody but an admin go ahead of others.
func (s *Service) mayBeNice(who bus.Caller, nice, was int) error {
	if nice < 0 && nice < was && who.Role != trust.Admin {
		return fault.New(fault.Denied, "only an admin may put a job ahead of others: --nice %d is below zero", nice).Hint("--nice 0, or more to let others go first")
	}
	return nil
}

// partition is the one of that name, or for "" the default one; the zero Partition when there is none by default.
func (s *Service) partition(ctx context.Context, name string) (p Partition, err error) {
	var known []string
	found := false
	if err := s.ask(ctx, func(st *State) {
		for _, one := range st.partitions {
			if known = append(known, one.Name); one.Name == name || name == "" && one.Default {
				p, found = one, true
			}
		}
	}); err != nil {
		return p, err
	}
	if !found && name != "" {
		slices.Sort(known)
		if len(known) == 0 {
			return p, fault.New(fault.NotFound, "there is no partition %s: this cluster has none", name).Hint("leave --partition out, or let an admin make it: bramble partition set %s --on SEL", name)
		}
		return p, fault.New(fault.NotFound, "there is no partition %s; there are %s", name, strings.Join(known, ", ")).Hint("--partition %s", fleet.Nearest(name, known))
	}
	return p, nil
}

// dependable refuses dependencies on jobs that never were, and those that can't hold any more.
func (s *Service) dependable(ctx context.Context, spec Spec) (err error) {
	if len(spec.Depend) == 0 {
		return nil
	}
	askErr := s.ask(ctx, func(st *State) {
		lost := 0
		for _, d := range spec.Depend {
			if d.Kind == Singleton {
				continue
			}
			sum, known := st.Job(d.Job)
			if !known {
				err = unknownJob(d.Job, st.Last())
				return
			}
			if on := st.jobs[d.Job]; !sum.Ended.IsZero() && d.outcomeOf(on) == broken {
				lost++
				if !spec.DependAny || lost == len(spec.Depend) {
					err = fault.New(fault.Conflict, "%s:%d can never hold: job %d has ended, %s", d.Kind, d.Job, d.Job, countsText(sum.Counts)).Hint("afterany:%d", d.Job)
					return
				}
			}
		}
	})
	return cmp.Or(askErr, err)
}

// loads is what nodes do, by name; all that are known for none.
func (s *Service) loads(ctx context.Context, _ bus.Caller, names []string) (list []Load, err error) {
	err = s.ask(ctx, func(st *State) {
		if len(names) == 0 {
			names = slices.Sorted(maps.Keys(st.nodes))
		}
		for _, name := range names {
			list = append(list, st.Load(name))
		}
	})
	return list, err
}

func (s *Service) uses(ctx context.Context, _ bus.Caller, _ none) (list []Use, err error) {
	err = s.ask(ctx, func(st *State) { list = st.Uses(s.Now()) })
	return list, err
}

func (s *Service) listPartitions(ctx context.Context, _ bus.Caller, _ none) (list []Partition, err error) {
	err = s.ask(ctx, func(st *State) { list = slices.Collect(maps.Values(st.partitions)) })
	sorts.By(list, func(a, b Partition) int { return cmp.Compare(a.Name, b.Name) })
	return list, err
}

// openPartitions reads the partitions from the settings.
func (s *Service) openPartitions(ctx context.Context) error {
	var err error
	if s.settings, err = s.Conn.Bucket(ctx, "job"); err != nil {
		return err
	}
	stored, err := s.settings.List(ctx, "partition.")
	if err != nil {
		return err
	}
	list := make([]Partition, 0, len(stored))
	for key, data := range stored {
		var p Partition
		if err := json.Unmarshal(data, &p); err != nil {
			return fmt.Errorf("read the setting %s: %w", key, err)
		}
		list = append(list, p)
	}
	sorts.By(list, func(a, b Partition) int { return cmp.Compare(a.Name, b.Name) })
	Step(s.state, Partitions{list}, s.Now())
	return nil
}

func (s *Service) setPartition(ctx context.Context, who bus.Caller, p Partition) (none, error) {
	if err := p.Validate(); err != nil {
		return none{}, err
	}
	if p.On != "" {
		if _, err := fleet.ParseSelector(p.On); err != nil {
			return none{}, err
		}
	}
	list, err := s.listPartitions(ctx, who, none{})
	if err != nil {
		return none{}, err
	}
	for i, other := range list {
		if p.Default && other.Default && other.Name != p.Name {
			return none{}, fault.New(fault.Conflict, "%s is the default partition already", other.Name).Hint("bramble partition set %s without --default first", other.Name)
		}
		if other.Name == p.Name {
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	if list = append(list, p); len(list) > maxPartitions {
		return none{}, fault.New(fault.Full, "a cluster has at most %d partitions", maxPartitions)
	}
	if err := s.settings.Put(ctx, "partition."+p.Name, marshal(p)); err != nil {
		return none{}, err
	}
	return none{}, s.partitionsAre(ctx, who, list, "set partition "+p.Name)
}

func (s *Service) removePartition(ctx context.Context, who bus.Caller, name string) (none, error) {
	if _, err := s.partition(ctx, name); err != nil || name == "" {
		return none{}, cmp.Or(err, error(fault.New(fault.Misused, "the partition to remove has no name")))
	}
	var users []ID
	list, err := s.listPartitions(ctx, who, none{})
	if err == nil {
		err = s.ask(ctx, func(st *State) {
			for _, j := range st.inOrder() {
				if j.ended.IsZero() && j.spec.Partition == name {
					users = append(users, j.id)
				}
			}
		})
	}
	switch {
	case err != nil:
		return none{}, err
	case len(users) > 0:
		return none{}, fault.New(fault.Conflict, "job %d and %d others are in partition %s", users[0], len(users)-1, name).Hint("bramble partition set %s --down, and wait until they have ended", name)
	}
	if err := s.settings.Delete(ctx, "partition."+name); err != nil {
		return none{}, err
	}
	list = slices.DeleteFunc(list, func(p Partition) bool { return p.Name == name })
	return none{}, s.partitionsAre(ctx, who, list, "removed partition "+name)
}

// partitionsAre tells the scheduler which partitions there are now.
func (s *Service) partitionsAre(ctx context.Context, who bus.Caller, list []Partition, did string) error {
	err := s.inLoop(ctx, func() {
		s.happen(Partitions{list})
		s.reselect = true
	})
	s.Events.Record(event.Event{Kind: event.Audit, Room: "job", User: who.Name, Text: who.Name + " " + did})
	return err
}
