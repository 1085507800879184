package artefact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/metric"
)

// Service is the head's half of Push and Pull: its store lies between the one who asks and the nodes.
type Service struct {
	Conn    *bus.Conn
	Store   *Store
	Select  func(selection string) ([]fleet.Node, error)
	Events  *event.Log
	Metrics *metric.Set
	Spreads *Spreads
	Log     *slog.Logger

	next    atomic.Int64
	copies  *metric.Counter
	working handlers
}

// width is how many nodes are at work at the same time, where the head feeds each: as many as the Handler's transfers can.
const width = 16

// Run serves until ctx ends, and removes what nobody needs any more from the store.
func (s *Service) Run(ctx context.Context) error {
	s.copies = s.Metrics.Counter("bramble_artefact_copies_total", "Copies to or from a node that push and pull began.")
	s.Metrics.Gauge("bramble_artefact_bytes", "Bytes in the head's store.", func() float64 { return float64(s.Store.Used()) })
	err := errors.Join(
		unpinAll(s.Store),
		bus.HandleStream(ctx, s.Conn, "artefact.do.push", s.push),
		bus.HandleStream(ctx, s.Conn, "artefact.do.pull", s.pull),
		bus.HandleStream(ctx, s.Conn, "artefact.read.spreads", s.spreads),
		s.Conn.Subscribe(ctx, bus.From("artefact", "*", "coming"), s.Spreads.hear),
	)
	if err != nil {
		return err
	}
	err = collectNowAndThen(ctx, s.Store, s.Log)
	s.working.wait()
	return err
}

// push tells who is chosen, waits until the caller names the tree that it has uploaded, and spreads it.
func (s *Service) push(ctx context.Context, who bus.Caller, req Push, stream *bus.Stream) (err error) {
	leave, err := s.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	out := told{stream, s.Spreads.begin(SpreadPush, req.To, who.Name)}
	defer func() { out.entry.end(err) }()
	if _, err := Land(sourcesOf(req.Many), req.To, Nothing); err != nil {
		return err
	}
	nodes, err := s.choose(ctx, who, req.On, req.As, out, "pushes files to %s", req.To)
	if err != nil {
		return err
	}
	var ref Ref
	if data, err := out.Recv(); err != nil {
		return err
	} else if err := json.Unmarshal(data, &ref); err != nil {
		return fault.New(fault.Misused, "unreadable name of a tree: %w", err)
	}
	pin := s.pinName()
	defer s.Store.Unpin(pin)
	if err := s.Store.PinManifest(ctx, pin, ref); err != nil {
		return err
	}
	return s.spread(ctx, out, req.On, nodes, fetchTask{User: who.Name, As: req.As, Ref: ref, To: req.To, Many: req.Many, Limit: req.Limit, Way: Way{Courtesy: req.Courtesy}})
}

// pull has nodes bring their files here, and keeps them until the caller has gone.
func (s *Service) pull(ctx context.Context, who bus.Caller, req Pull, stream *bus.Stream) (err error) {
	leave, err := s.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if len(req.Paths) == 0 || slices.Contains(req.Paths, "") {
		return fault.New(fault.Misused, "no path to copy from").Hint("bramble pull --on SEL PATH LOCALDIR")
	}
	out := told{stream, s.Spreads.begin(SpreadPull, req.Paths[0], who.Name)}
	defer func() { out.entry.end(err) }()
	nodes, err := s.choose(ctx, who, req.On, req.As, out, "pulls %s", req.Paths[0])
	if err != nil {
		return err
	}
	pin := s.pinName()
	defer s.Store.Unpin(pin)
	arrived := func(end *End) error { return s.Store.PinManifest(ctx, pin, end.Ref) }
	task := readTask{User: who.Name, As: req.As, Paths: req.Paths}
	if err := s.each(ctx, out, nodes, "read", width, func(int) any { return task }, arrived); err != nil {
		return err
	}
	out.entry.end(nil) // what follows is the caller's
	if _, err := out.Recv(); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func (s *Service) pinName() string { return fmt.Sprintf("%s%d", pinPrefix, s.next.Add(1)) }

// choose selects the nodes, tells the caller and writes down what was asked for.
func (s *Service) choose(ctx context.Context, who bus.Caller, on, as string, out told, text, subject string) ([]fleet.Node, error) {
	if err := checkAs(as, who.Role); err != nil {
		return nil, err
	}
	nodes, err := s.Select(on)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	text = fmt.Sprintf("%s "+text+" on %s", who.Name, clip(subject), fleet.Fold(names))
	if as != "" {
		text += " as " + as
	}
	s.Events.Record(event.Event{Kind: event.Audit, Room: "artefact", User: who.Name, Text: text})
	for part := range slices.Chunk(names, 512) {
		if err := out.SendJSON(Event{Kind: Chosen, Names: part}); err != nil {
			return nil, err
		}
	}
	return nodes, ctx.Err()
}

// each has every node do its task, some at a time, and passes on what they report. check may find fault with one that went well.
func (s *Service) each(ctx context.Context, out told, nodes []fleet.Node, verb string, width int, task func(i int) any, check func(*End) error) error {
	return parallel(ctx, width, len(nodes), func(ctx context.Context, i int) error {
		data, err := json.Marshal(task(i))
		if err != nil {
			return err
		}
		end := s.follow(ctx, nodes[i], verb, data, func(ev Event, _ *bus.Stream) error { return out.SendJSON(ev) })
		if check != nil && end.OK() {
			if err := check(end); err != nil {
				end = failed(err)
			}
		}
		return out.SendJSON(Event{Kind: Ended, Node: nodes[i].Name, End: end})
	})
}

// follow tells what a node reports, until it has ended.
func (s *Service) follow(ctx context.Context, n fleet.Node, verb string, data []byte, tell func(Event, *bus.Stream) error) *End {
	if n.State == fleet.Down {
		return isDown()
	}
	s.copies.Add(1)
	in, err := s.Conn.Open(ctx, bus.Node("artefact", n.Name, verb), data)
	if err != nil {
		return silent(err)
	}
	defer in.Close()
	for {
		data, err := in.Recv()
		if err != nil {
			return silent(err)
		}
		var ev Event
		if err := json.Unmarshal(data, &ev); err != nil {
			return failed(err)
		}
		switch ev.Node = n.Name; {
		case ev.Kind == Ended && ev.End != nil:
			return ev.End
		case ev.Kind == Moving || ev.Kind == LeftOut:
			if err := tell(ev, in); err != nil {
				return failed(err)
			}
		}
	}
}

// isDown is the end of a node that is not asked.
func isDown() *End {
	return &End{Code: fault.Unreachable, Error: "down", Try: "bramble nodes", Lost: true}
}

// silent is the end of a node whose reports broke off.
func silent(err error) *End {
	switch {
	case err == io.EOF:
		return &End{Code: fault.Unreachable, Error: "stopped reporting", Try: "bramble nodes", Lost: true}
	case fault.Is(err, fault.Unreachable):
		return &End{Code: fault.Unreachable, Error: "no answer", Try: "bramble nodes", Lost: true}
	}
	return failed(err)
}

// failed is the end of a node where something went wrong.
func failed(err error) *End {
	f := fault.Of(err)
	return &End{Code: f.Code, Error: f.Text, Try: f.Try}
}

// clip is text in one short line.
func clip(text string) string {
	runes := []rune(text)
	for i, r := range runes {
		if r < ' ' || r == 0x7f {
			runes[i] = ' '
		}
	}
	if len(runes) > 80 {
		runes = append(runes[:79], '…')
	}
	return string(runes)
}
