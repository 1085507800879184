package fan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/metric"
)

// Service is the head's half: it passes a command on to the nodes and their reports back.
type Service struct {
	Conn    *bus.Conn
	Select  func(selection string) ([]fleet.Node, error)
	Node    func(name string) (fleet.Node, error)
	Events  *event.Log
	Metrics *metric.Set
	Log     *slog.Logger

	runs *metric.Counter
}

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.runs = s.Metrics.Counter("bramble_fan_commands_total", "Commands started on nodes by run and shell.")
	err := errors.Join(
		bus.HandleStream(ctx, s.Conn, "fan.do.run", s.run),
		bus.HandleStream(ctx, s.Conn, "fan.do.shell", s.shell),
	)
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// relay is one run under way.
type relay struct {
	say   *speaker      // what goes to the client
	out   *bus.Stream   // to the client
	nodes []*bus.Stream // by place; nil for those that are down or wait for their turn
}

func (s *Service) run(ctx context.Context, who bus.Caller, req Request, out *bus.Stream) error {
	if err := check(req.Args, req.Env, req.As, who.Role); err != nil {
		return err
	}
	nodes, err := s.Select(req.On)
	if err != nil {
		return err
	}
	if req.Fanout >= len(nodes) {
		req.Fanout = 0
	}
	if req.Stdin && req.Fanout > 0 {
		return fault.New(fault.Misused, "--stdin goes to all nodes at once, so it cannot be combined with -f").Hint("leave -f out")
	}
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	s.audit(who, "", fmt.Sprintf("runs %s on %s", brief(req.Args), fleet.Fold(names)), req.As)
	frames, err := packNames(names)
	if err != nil {
		return err
	}
	r := &relay{out: out, say: newSpeaker(out), nodes: make([]*bus.Stream, len(nodes))}
	defer r.say.close()
	for _, f := range frames {
		if err := r.say.add(f); err != nil {
			return err
		}
	}
	return r.all(ctx, s, nodes, req, task{User: who.Name, As: req.As, Args: req.Args, Env: req.Env, Timeout: req.Timeout, Stdin: req.Stdin})
}

// all runs the task on every node, Fanout of them at a time, and returns when all have reported.
func (r *relay) all(ctx context.Context, s *Service, nodes []fleet.Node, req Request, t task) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	var ended sync.WaitGroup
	defer ended.Wait()
	for i, n := range nodes {
		if n.State == fleet.Down {
			continue
		}
		if r.nodes[i], err = s.begin(ctx, n.Name, data, req.Fanout); err != nil {
			return err
		}
	}
	if req.Stdin {
		r.out.Go(r.feed)
	}
	gate := make(chan struct{}, max(1, min(len(nodes), req.Fanout)))
	for i, n := range nodes {
		if req.Fanout > 0 {
			gate <- struct{}{}
		}
		ended.Go(func() {
			r.follow(ctx, s, i, n, data)
			if req.Fanout > 0 {
				<-gate
			}
		})
	}
	return nil
}

// begin asks a node at once, unless a fan-out limit makes it wait for its turn.
func (s *Service) begin(ctx context.Context, node string, data []byte, fanout int) (*bus.Stream, error) {
	if fanout > 0 {
		return nil, nil
	}
	s.runs.Add(1)
	return s.Conn.Open(ctx, bus.Node("fan", node, "run"), data)
}

// follow passes a node's reports on until the command has ended there.
func (r *relay) follow(ctx context.Context, s *Service, i int, n fleet.Node, data []byte) {
	end := End{Error: "down", Try: "bramble nodes", Lost: true}
	if n.State != fleet.Down {
		end = r.reports(ctx, s, i, n.Name, data)
	}
	if text, err := json.Marshal(end); err == nil {
		r.say.add(pack(Ended, i, text))
	}
}

func (r *relay) reports(ctx context.Context, s *Service, i int, name string, data []byte) End {
	in := r.nodes[i]
	if in == nil {
		var err error
		s.runs.Add(1)
		if in, err = s.Conn.Open(ctx, bus.Node("fan", name, "run"), data); err != nil {
			return lost(err)
		}
	}
	defer in.Close()
	for {
		frame, err := in.Recv()
		if err != nil || len(frame) == 0 {
			return lost(err)
		}
		switch kind := Kind(frame[0]); kind {
		case Ended:
			var end End
			if err := json.Unmarshal(frame[1:], &end); err != nil {
				return lost(err)
			}
			return end
		case Stdout, Stderr:
			if err := r.say.add(pack(kind, i, frame[1:])); err != nil {
				return lost(err)
			}
		}
	}
}

// lost tells what became of a node that stopped reporting.
func lost(err error) End {
	switch f := fault.Of(err); {
	case err == nil || err == io.EOF:
		return End{Error: "stopped reporting", Try: "bramble nodes", Lost: true}
	case f.Code == fault.Unreachable:
		return End{Error: "no answer", Try: "bramble nodes", Lost: true}
	default:
		return End{Error: f.Text, Try: f.Try}
	}
}

// feed gives the client's standard input to every node that still takes it, as fast as the slowest does.
func (r *relay) feed() {
	for data, err := range r.out.Messages() {
		if err != nil {
			return
		}
		for _, in := range r.nodes {
			if in != nil {
				in.Send(data) // a node that has ended takes no more, which is no fault
			}
		}
	}
	for _, in := range r.nodes {
		if in != nil {
			in.CloseSend()
		}
	}
}

func (s *Service) shell(ctx context.Context, who bus.Caller, req ShellRequest, client *bus.Stream) error {
	env := []string{"TERM=" + req.Term}
	if err := errors.Join(checkWords(req.Args, env), checkAs(req.As, who.Role)); err != nil {
		return err
	}
	n, err := s.Node(req.Node)
	if err != nil {
		return err
	}
	if n.State == fleet.Down {
		return fault.New(fault.Unreachable, "%s is down", n.Name).Hint("bramble nodes")
	}
	s.audit(who, n.Name, "opens a terminal on "+n.Name, req.As)
	s.runs.Add(1)
	node, err := s.Conn.Open(ctx, bus.Node("fan", n.Name, "run"), task{User: who.Name, As: req.As, Args: req.Args, Env: env, TTY: &req.Size})
	if err != nil {
		return err
	}
	defer node.Close()
	var ended sync.WaitGroup
	defer ended.Wait()
	defer client.Close()
	ended.Go(func() {
		for data, err := range client.Messages() {
			if err != nil || node.Send(data) != nil {
				return
			}
		}
	})
	for data, err := range node.Messages() {
		if err != nil {
			return err
		}
		if err := client.Send(data); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) audit(who bus.Caller, node, text, as string) {
	if as != "" {
		text += " as " + as
	}
	s.Events.Record(event.Event{Kind: event.Audit, Room: "fan", Node: node, User: who.Name, Text: who.Name + " " + text})
}

// brief is a command in one short line.
func brief(args []string) string {
	text := []rune(strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.Join(args, " ")))
	if len(text) > 80 {
		text = append(text[:79], '…')
	}
	return string(text)
}
