package front

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"slices"
	"time"

	"bramble/accesslog"
	"bramble/bus"
	"bramble/fault"
)

// sendLog sends what the nodes of a front have noted, as it comes: who visits is for those to see who answer for a front.
func (s *Service) sendLog(ctx context.Context, _ bus.Caller, req accesslog.Request, out *bus.Stream) error {
	f, err := s.find(req.Name, "bramble front log NAME")
	if err == nil {
		err = req.Check()
	}
	switch {
	case err != nil:
		return err
	case f.Doors.Direct:
		return fault.New(fault.Misused, "visitors of the front %s are answered by the members themselves, who alone can note them", f.Name).
			Hint("bramble site log %s", f.Sites[0].Name)
	case !f.Doors.Log && !req.Follow:
		return fault.New(fault.NotFound, "the front %s keeps no access log", f.Name).
			Hint("bramble front log %s -f shows visits as they come; bramble front up %[1]s … --log keeps them", f.Name)
	}
	nodes, err := accesslog.Among(s.Fleet, f.On, req.On)
	switch {
	case err != nil:
		return err
	case len(nodes) == 0:
		return fault.New(fault.NotFound, "no node of %s has the front %s", cmp.Or(req.On, f.On), f.Name).Hint("bramble front status %s", f.Name)
	}
	req.Name = f.Name
	return accesslog.Relay(ctx, s.Conn, "front", nodes, req, out)
}

// askAgain is how soon a process is asked for its log after one has ended.
const askAgain = 200 * time.Millisecond

// sendLog sends the last lines that this node has noted, and with Follow those that come, from whichever process carries the front.
func (n *Node) sendLog(ctx context.Context, _ bus.Caller, req accesslog.Request, out *bus.Stream) error {
	req.Lines = min(req.Lines, accesslog.MaxLines)
	for {
		n.mu.Lock()
		wanted := slices.ContainsFunc(n.wanted, func(o Order) bool { return o.Name == req.Name })
		n.mu.Unlock()
		if !wanted {
			return fault.New(fault.NotFound, "it does not have the front %.80s", req.Name).Hint("bramble front status")
		}
		begun, err := passLog(ctx, n.Dir, req, out.Send)
		_, refused := err.(*fault.Error)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && !req.Follow, refused:
			return err
		case !req.Follow:
			return fault.New(fault.Unreachable, "its process does not answer: %w", err).Hint("bramble front status %s", req.Name)
		}
		if begun {
			req.Lines = 0
		}
		if !wait(ctx, askAgain) {
			return ctx.Err()
		}
	}
}

// passLog passes on what the process of a folder has noted. Begun is that it has answered; a fault, that it refuses. Where it keeps
// on, the end of the process is the end without an error.
func passLog(ctx context.Context, dir string, req accesslog.Request, to func([]byte) error) (begun bool, err error) {
	conn, err := speak(socketIn(dir), asked{Do: "log", Log: req})
	if err != nil {
		return false, err
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, accesslog.MaxPiece)
	line, err := in.ReadBytes('\n')
	var answer said
	if err == nil {
		err = json.Unmarshal(line, &answer)
	}
	switch {
	case err != nil:
		return false, err
	case answer.Fault != nil:
		return false, answer.Fault
	}
	conn.SetDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	return true, accesslog.Pass(in, to)
}

// logFile is where the access log of a front is kept.
func (p *Process) logFile(name string) string { return filepath.Join(p.Dir, "log", name) }

// sendLog answers with what a front has noted, and with Follow goes on until the front is carried by somebody else, or the agent has
// gone.
func (p *Process) sendLog(conn *net.UnixConn, req accesslog.Request) {
	defer conn.Close()
	p.mu.Lock()
	c := p.fronts[req.Name]
	p.mu.Unlock()
	if c == nil {
		return // it will be asked again, or not
	}
	last, coming, stop, err := c.server.Access.begin(p.logFile(req.Name), req)
	answer := said{Version: p.Version}
	if err != nil {
		answer.Fault = fault.Of(err)
		answerWith(conn, answer, nil)
		return
	}
	defer stop()
	if answerWith(conn, answer, nil) != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	ctx, gone := context.WithCancel(c.stays)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	p.ending.Go(func() { io.Copy(io.Discard, conn); gone() }) // the agent says nothing more, but it may go
	accesslog.Send(ctx, func(b []byte) error { _, err := conn.Write(b); return err }, last, coming)
}
