package job

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// submit accepts a job: it is on disk when this returns.
func (s *Service) submit(ctx context.Context, who bus.Caller, sub Submission) (receipt, error) {
	spec := sub.Spec
	spec.User = who.Name
	if spec.As != "" && (spec.As != "root" || who.Role != trust.Admin) {
		return receipt{}, fault.New(fault.Denied, "only an admin may submit work that runs as root").Hint("leave --as out")
	}
	spec, err := spec.Validate()
	if err != nil {
		return receipt{}, err
	}
	if spec, err = s.admit(ctx, who, spec); err != nil {
		return receipt{}, err
	}
	nodes, err := s.mayRun(ctx, spec)
	if err != nil {
		return receipt{}, err
	}
	if err := s.room(); err != nil {
		return receipt{}, err
	}
	keep, err := s.pin(ctx, spec)
	if err != nil {
		return receipt{}, err
	}
	accepted := make(chan ID, 1)
	if err := s.inLoop(ctx, func() {
		s.joining = accepted
		s.happen(Submitted{Spec: spec, Nodes: nodes})
		for name := range spec.Gres {
			s.happen(offered(name, s.workers()))
		}
	}); err != nil {
		keep(0)
		return receipt{}, err
	}
	select {
	case id := <-accepted:
		keep(id)
		s.submitted.Add(1)
		s.audit(who, id, fmt.Sprintf("%s submitted job %d%s", who.Name, id, named(spec)))
		return receipt{id}, nil
	case <-ctx.Done():
		return receipt{}, ctx.Err() // the head stops; its next start brings the files in line
	case <-time.After(acceptWithin):
		s.keepLater(accepted, keep)
		return receipt{}, fault.New(fault.Full, "the head cannot write its journal now; the job may still be accepted later").
			Hint("bramble queue, to see whether it was, before you submit it again")
	}
}

// acceptWithin is how long a submission waits for the disk.
const acceptWithin = 20 * time.Second

// pin holds a submission's files; the function it returns hands them over to the job, or for 0 lets go of them.
func (s *Service) pin(ctx context.Context, spec Spec) (keep func(ID), err error) {
	if spec.Inputs == "" || s.Inputs == nil {
		return func(ID) {}, nil
	}
	own := "submission." + strings.ToLower(rand.Text())
	if err := s.Inputs.Pin(ctx, own, spec.Inputs); err != nil {
		return nil, err
	}
	return func(id ID) {
		if id > 0 {
			if err := s.Inputs.Pin(s.life, pinName(id), spec.Inputs); err != nil {
				s.Log.Error("files of a job not kept", "job", id, "error", err)
			}
		}
		if err := s.Inputs.Unpin(own); err != nil {
			s.Log.Warn("files not let go", "error", err)
		}
	}, nil
}

// keepLater keeps the files of a submission that nobody waits for any more, if it is accepted after all.
func (s *Service) keepLater(accepted <-chan ID, keep func(ID)) {
	s.do(s.life, func() {
		s.ended.Go(func() {
			select {
			case id := <-accepted:
				keep(id)
			case <-s.life.Done():
			}
		})
	})
}

func named(spec Spec) string {
	if spec.Name == "" {
		return ""
	}
	return " (" + spec.Name + ")"
}

// admit checks a submission against who makes it, its partition and the jobs that it waits for.
func (s *Service) admit(ctx context.Context, who bus.Caller, spec Spec) (Spec, error) {
	if err := s.mayBeNice(who, spec.Nice, 0); err != nil {
		return spec, err
	}
	if err := s.dependable(ctx, spec); err != nil {
		return spec, err
	}
	p, err := s.partition(ctx, spec.Partition)
	if err != nil {
		return spec, err
	}
	spec.Partition = p.Name
	return p.Admit(spec)
}

// mayRun is the names of the nodes that a job may use; an error when none of them could ever run it.
func (s *Service) mayRun(ctx context.Context, spec Spec) ([]string, error) {
	p, err := s.partition(ctx, spec.Partition)
	if err != nil {
		return nil, err
	}
	found, err := s.reach.of(p.On+"\n"+spec.On, func() ([]fleet.Node, error) { return s.usable(p, spec.On) })
	if err != nil {
		return nil, err
	}
	return found.names, Fits(spec, found.with(spec.Gres))
}

// usable is the workers of a partition that a selection means.
func (s *Service) usable(p Partition, on string) ([]fleet.Node, error) {
	workers := s.workers()
	if p.On != "" {
		in := map[string]bool{}
		for _, name := range match(p.On, workers) {
			in[name] = true
		}
		workers = slices.DeleteFunc(workers, func(n fleet.Node) bool { return !in[n.Name] })
		if len(workers) == 0 {
			return nil, fault.New(fault.NotFound, "partition %s has no nodes: --on %s means none", p.Name, p.On).Hint("bramble nodes --on '%s'", p.On)
		}
	}
	if on == "" {
		return workers, nil
	}
	sel, err := fleet.ParseSelector(on)
	if err != nil {
		return nil, err
	}
	return sel.Select(workers)
}

// room refuses work that could not be written down.
func (s *Service) room() error {
	if err := s.writer.trouble(); err != nil {
		return fault.New(fault.Full, "the head cannot write its journal: %w", err).Hint("free space on the head's disk; what was accepted stays")
	}
	if s.Room != nil {
		return s.Room()
	}
	return nil
}
