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
	Select  func(selection string) ([]fleet.Standing, error)
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
	say   *speaker    // what goes to the client
	out   *bus.Stream // to the client
	ended sync.WaitGroup
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
	pieces, err := packNames(names)
	if err != nil {
		return err
	}
	r := &relay{out: out, say: newSpeaker(out)}
	defer r.say.close()
	defer r.ended.Wait()
	for _, piece := range pieces {
		if err := r.say.add(Nodes, 0, piece); err != nil {
			return err
		}
	}
	data, err := json.Marshal(task{User: who.Name, As: req.As, Args: req.Args, Env: req.Env, Timeout: req.Timeout, Stdin: req.Stdin, Together: true})
	if err != nil {
		return err
	}
	subjects, places := r.asked(nodes)
	s.runs.Add(int64(len(subjects)))
	if req.Fanout > 0 {
		r.some(ctx, s.Conn, subjects, places, data, req.Fanout)
		return nil
	}
	return r.all(ctx, s.Conn, subjects, places, data, req.Stdin)
}

// asked is where to ask those nodes that are not down, and their places; of the others it is told that they are.
func (r *relay) asked(nodes []fleet.Standing) (subjects []string, places []int) {
	subjects, places = make([]string, 0, len(nodes)), make([]int, 0, len(nodes))
	for i, n := range nodes {
		if n.State == fleet.Down {
			r.end(i, End{Error: "down", Try: "bramble nodes", Lost: true})
			continue
		}
		subjects, places = append(subjects, bus.Node("fan", n.Name, "run")), append(places, i)
	}
	return subjects, places
}

// all asks all nodes at once. Only a node that has not ended by the time it is first heard from needs a goroutine.
func (r *relay) all(ctx context.Context, conn *bus.Conn, subjects []string, places []int, data []byte, stdin bool) error {
	many, err := conn.OpenMany(ctx, subjects, data)
	if err != nil {
		return err
	}
	if stdin {
		r.out.Go(func() { r.feed(many.Streams) })
	}
	for k, in := range many.Heard() {
		if in.Over() {
			r.follow(places[k], in)
		} else {
			r.ended.Go(func() { r.follow(places[k], in) })
		}
	}
	return nil
}

// some asks a node when one before it has ended, so that no more than fanout run it at a time.
func (r *relay) some(ctx context.Context, conn *bus.Conn, subjects []string, places []int, data []byte, fanout int) {
	gate := make(chan struct{}, fanout)
	for k, subject := range subjects {
		gate <- struct{}{}
		r.ended.Go(func() {
			defer func() { <-gate }()
			in, err := conn.Open(ctx, subject, data)
			if err != nil {
				r.end(places[k], lost(err))
				return
			}
			r.follow(places[k], in)
		})
	}
}

// follow passes a node's reports on until the command has ended there.
func (r *relay) follow(place int, in *bus.Stream) {
	defer in.Close()
	for {
		message, err := in.Recv()
		if err != nil || len(message) == 0 {
			r.end(place, lost(err))
			return
		}
		if Kind(message[0]) != Together {
			if r.pass(place, message) {
				return
			}
			continue
		}
		for frame := range framesOf(message[1:]) {
			if len(frame) > 0 && r.pass(place, frame) {
				return
			}
		}
	}
}

// pass passes one report on, and tells whether no more are wanted.
func (r *relay) pass(place int, frame []byte) (over bool) {
	switch kind := Kind(frame[0]); kind {
	case Stdout, Stderr, Ended:
		return r.say.add(kind, place, frame[1:]) != nil || kind == Ended
	}
	return false
}

func (r *relay) end(place int, end End) {
	if text, err := json.Marshal(end); err == nil {
		r.say.add(Ended, place, text)
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
func (r *relay) feed(nodes []*bus.Stream) {
	for data, err := range r.out.Messages() {
		if err != nil {
			return
		}
		for _, in := range nodes {
			in.Send(data) // a node that has ended takes no more, which is no fault
		}
	}
	for _, in := range nodes {
		in.CloseSend()
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
