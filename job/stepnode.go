package job

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bramble/fault"
	"bramble/keeper"
)

// step is a command of an allocation that runs here.
type step struct {
	id     string
	rank   Rank
	pipes  *keeper.Pipes
	done   chan struct{} // closed when it has ended
	status keeper.Status // then
}

// runStep runs a command and passes on what it reads and writes. It is ended when the connection is lost.
func (n *Node) runStep(ctx context.Context, al *allocation, req StepRequest, r *bufio.Reader, f *framer) error {
	s, err := n.beginStep(ctx, al, req)
	if err != nil {
		return err
	}
	defer n.forgetStep(al, s)
	defer s.pipes.Close()
	if !req.Stdin {
		s.pipes.In.Close()
	}
	var readers sync.WaitGroup
	readers.Go(func() { pass(f, frameOut, s.pipes.Out) })
	readers.Go(func() { pass(f, frameErr, s.pipes.Err) })
	lost := make(chan struct{})
	go func() { // it ends with the connection, which is closed when this returns
		defer close(lost)
		n.listen(s, r, f)
	}()
	select {
	case <-s.done:
	case <-lost:
		n.endStep(s)
	case <-ctx.Done():
		n.endStep(s)
	}
	timer := time.AfterFunc(time.Second, func() { // a process outside the tree may hold them
		s.pipes.Out.SetReadDeadline(time.Now())
		s.pipes.Err.SetReadDeadline(time.Now())
	})
	readers.Wait()
	timer.Stop()
	return f.sendJSON(frameEnd, s.end())
}

// end is how the step ended.
func (s *step) end() stepEnd {
	select {
	case <-s.done:
	default:
		return endOf(fault.New(fault.Failed, "it could not be ended"))
	}
	switch {
	case s.status.Error != "":
		return endOf(fault.New(fault.Failed, "%s", s.status.Error))
	case s.status.Exit == nil:
		return endOf(fault.New(fault.Failed, "it is not known how it ended"))
	}
	return stepEnd{Exit: *s.status.Exit}
}

// beginStep has the keeper start a command.
func (n *Node) beginStep(ctx context.Context, al *allocation, req StepRequest) (*step, error) {
	if k, ok := n.Keeper.(interface{ Peer() int }); ok && k.Peer() < 2 {
		return nil, fault.New(fault.Failed, "the keeper on %s is of an earlier version, which knows no steps", n.Conn.Who().Name).Hint("wait until its tasks have ended, then bramble service restart there")
	}
	spec, err := n.spec(ctx, al.Key)
	if err != nil {
		return nil, err
	}
	account, user, err := n.account(spec)
	if err != nil {
		return nil, err
	}
	s := &step{id: al.Key.String() + "." + strings.ToLower(rand.Text()[:10]), rank: req.Rank, done: make(chan struct{})}
	stdio := filepath.Join(n.jobDir(al.Job), s.id)
	if s.pipes, err = keeper.MakePipes(stdio, int(account.UID), int(account.GID)); err != nil {
		return nil, err
	}
	defer os.RemoveAll(stdio)
	if err := n.enterStep(al, s); err != nil {
		s.pipes.Close()
		return nil, err
	}
	dir, start, args := n.stepDir(al.Key, spec, req)
	t := keeper.Task{ID: s.id, Args: args, Env: n.stepEnv(al, spec, req, account, dir), Dir: start, User: user,
		Stdio: stdio, TTY: req.TTY}
	t.Limits, t.Umask = limits(al.Memory), cmp.Or(spec.Umask, usualUmask)
	if err := n.Keeper.Start(ctx, []keeper.Task{t}); err != nil {
		s.pipes.Close()
		n.forgetStep(al, s)
		return nil, err
	}
	return s, nil
}

// stepDir is the folder that a step runs in, and how to get there.
func (n *Node) stepDir(k Key, spec Spec, req StepRequest) (dir, start string, args []string) {
	top := n.workDir(k, spec)
	switch {
	case req.Dir == "":
		start, args = n.into(k, top, req.Args)
		return top, start, args
	case filepath.IsAbs(req.Dir):
		start, args = n.into(k, req.Dir, req.Args)
		return req.Dir, start, args
	}
	enter := []string{"/bin/sh", "-c", `mkdir -p -- "$0" && cd -- "$0" && exec "$@"`, req.Dir}
	start, args = n.into(k, top, append(enter, req.Args...))
	return filepath.Join(top, req.Dir), start, args
}

// enterStep counts a step in while its allocation lasts.
func (n *Node) enterStep(al *allocation, s *step) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case al.over || n.killed[al.Key]:
		return fault.New(fault.Conflict, "the allocation of job %d is over", al.Job)
	case len(al.steps) >= maxSteps:
		return fault.New(fault.Full, "job %d has %d steps on %s already", al.Job, maxSteps, n.Conn.Who().Name).Hint("wait until some have ended")
	}
	al.steps[s.id], n.steps[s.id] = s, s
	return nil
}

func (n *Node) forgetStep(al *allocation, s *step) {
	n.mu.Lock()
	delete(al.steps, s.id)
	delete(n.steps, s.id)
	n.mu.Unlock()
	if err := n.Keeper.Forget(n.life, []string{s.id}); err != nil {
		n.Log.Debug("forget", "step", s.id, "error", err)
	}
}

// stepOver takes in the end of a step; one that nobody waits for any more is forgotten.
func (n *Node) stepOver(st keeper.Status) {
	n.mu.Lock()
	s := n.steps[st.ID]
	if s != nil {
		delete(n.steps, st.ID)
	}
	n.mu.Unlock()
	if s != nil {
		s.status = st
		close(s.done)
	} else if err := n.Keeper.Forget(n.life, []string{st.ID}); err != nil {
		n.Log.Debug("forget", "step", st.ID, "error", err)
	}
}

// endStep asks a step to end, then makes it, and returns when it has.
func (n *Node) endStep(s *step) {
	n.Keeper.Signal(n.life, s.id, "TERM")
	n.Keeper.Signal(n.life, s.id, "CONT")
	for _, wait := range []time.Duration{keeper.DefaultGrace, keeper.DefaultGrace} {
		select {
		case <-s.done:
			return
		case <-n.life.Done():
			return
		case <-time.After(wait):
			n.Keeper.Signal(n.life, s.id, "KILL")
		}
	}
}

// env tells a process of a step which one it is.
func (r Rank) env() []string {
	if r.Step == "" {
		return nil
	}
	env := []string{"BRAMBLE_STEP=" + r.Step, fmt.Sprintf("BRAMBLE_RANK=%d", r.Rank), fmt.Sprintf("BRAMBLE_RANKS=%d", r.Ranks),
		fmt.Sprintf("BRAMBLE_LOCAL_RANK=%d", r.Local)}
	if r.Alone {
		env = append(env, "BRAMBLE_KEEP_GOING=1")
	}
	return env
}

// stepKey is the attempt that a step belongs to, by the step's name at the keeper.
func stepKey(id string) (Key, error) {
	if i := strings.LastIndexByte(id, '.'); i > 0 {
		return ParseKey(id[:i])
	}
	return Key{}, errors.New("no step")
}
