package job

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
)

// Peers reaches the agents of other nodes.
type Peers interface {
	// Dial opens a connection to the node's agent, which answers with ServePeer; it is proved to be that node.
	Dial(ctx context.Context, node, address string) (net.Conn, error)
}

// What a request may ask for.
const (
	doRun     = "run"
	doNodes   = "nodes"   // who has a share: []Peer
	doExplain = "explain" // Text is why the allocation's command is about to fail
)

const (
	askWithin   = 10 * time.Second // for the first frame
	shareWithin = 30 * time.Second // for a share whose start is still under way
)

// fromInside serves one connection of a process of an allocation.
func (n *Node) fromInside(ctx context.Context, al *allocation, conn net.Conn) {
	r, f := bufio.NewReaderSize(conn, 16<<10), &framer{w: conn}
	req, err := readRequest(conn, r)
	if err == nil && !n.knows(al.Key, req.Secret) {
		err = fault.New(fault.Denied, "this is not the secret of attempt %s", al.Key)
	}
	if err == nil {
		req.Secret, req.Key = "", al.Key
		err = n.route(ctx, al, req, conn, r, f)
	}
	if err != nil {
		f.sendJSON(frameEnd, endOf(err))
	}
}

// route answers a request here or has the node answer it that it is meant for.
func (n *Node) route(ctx context.Context, al *allocation, req StepRequest, conn net.Conn, r *bufio.Reader, f *framer) error {
	self := n.Conn.Who().Name
	to := self
	switch {
	case req.Do == doRun && req.Node != "":
		to = req.Node
	case meets(req.Do): // ranks meet at the leader
		list, err := n.peersOf(ctx, al)
		if err != nil {
			return err
		}
		to = list[0].Node
	}
	if to == self {
		return n.answer(ctx, al, self, req, conn, r, f)
	}
	peer, err := n.peerOf(ctx, al, to)
	if err != nil {
		return err
	}
	if n.Peers == nil || peer.Address == "" {
		return fault.New(fault.Unreachable, "the agent of %s takes no steps from others", to).Hint("bramble upgrade, on that machine")
	}
	return n.forward(ctx, peer, req, conn, r)
}

// forward joins a process to another node's agent until either goes.
func (n *Node) forward(ctx context.Context, peer Peer, req StepRequest, conn net.Conn, r *bufio.Reader) error {
	far, err := n.Peers.Dial(ctx, peer.Node, peer.Address)
	if err != nil {
		return err
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { far.Close() })()
	if err := (&framer{w: far}).sendJSON(frameAsk, req); err != nil {
		return fault.New(fault.Unreachable, "the agent of %s was lost: %w", peer.Node, err)
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		io.Copy(conn, far)
		conn.SetReadDeadline(time.Now())
	}()
	io.Copy(far, r)
	far.Close()
	<-back
	return nil
}

func readRequest(conn net.Conn, r *bufio.Reader) (req StepRequest, err error) {
	conn.SetReadDeadline(time.Now().Add(askWithin))
	defer conn.SetReadDeadline(time.Time{})
	kind, data, err := readFrame(r)
	if err == nil && kind != frameAsk {
		err = fault.New(fault.Misused, "the connection does not begin with a request")
	}
	if err == nil {
		err = json.Unmarshal(data, &req)
	}
	return req, err
}

// ServePeer answers the agent of another node, which is proved to be that node, and closes the connection.
func (n *Node) ServePeer(ctx context.Context, from string, conn net.Conn, r *bufio.Reader) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	f := &framer{w: conn}
	req, err := readRequest(conn, r)
	var al *allocation
	if err == nil {
		al, err = n.awaitAllocation(ctx, req.Key)
	}
	if err == nil {
		_, err = n.peerOf(ctx, al, from)
	}
	if err == nil {
		err = n.answer(ctx, al, from, req, conn, r, f)
	}
	if err != nil {
		f.sendJSON(frameEnd, endOf(err))
	}
}

// awaitAllocation is the share of an attempt here, waiting for one whose start is still under way.
func (n *Node) awaitAllocation(ctx context.Context, k Key) (*allocation, error) {
	ctx, cancel := context.WithTimeout(ctx, shareWithin)
	defer cancel()
	for {
		n.mu.Lock()
		al, opened := n.allocations[k], n.opened
		n.mu.Unlock()
		if al != nil {
			opened = al.made
		}
		select {
		case <-opened:
			if al != nil {
				return al, nil
			}
		case <-ctx.Done():
			return nil, fault.New(fault.NotFound, "%s has no share of attempt %s", n.Conn.Who().Name, k)
		}
	}
}

// answer does what is asked of this node.
func (n *Node) answer(ctx context.Context, al *allocation, from string, req StepRequest, conn net.Conn, r *bufio.Reader, f *framer) error {
	var value any
	var err error
	switch {
	case req.Do == doRun:
		return n.runStep(ctx, al, req, r, f)
	case req.Do == doNodes:
		value, err = n.peersOf(ctx, al)
	case req.Do == doExplain:
		n.mu.Lock()
		al.why = cut(req.Text)
		n.mu.Unlock()
	case meets(req.Do):
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() { // who asks may go before others come
			conn.Read(make([]byte, 1))
			cancel()
		}()
		value, err = al.meet.do(ctx, req)
	default:
		err = fault.New(fault.Misused, "no request is called %.20q", req.Do)
	}
	if err != nil {
		return err
	}
	var end stepEnd
	if end.Value, err = json.Marshal(value); err != nil {
		return err
	}
	return f.sendJSON(frameEnd, end)
}

// step is a command of an allocation that runs here.
type step struct {
	id     string
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
	s := &step{id: al.Key.String() + "." + strings.ToLower(rand.Text()[:10]), done: make(chan struct{})}
	stdio := filepath.Join(n.jobDir(al.Job), s.id)
	if s.pipes, err = keeper.MakePipes(stdio, int(account.UID), int(account.GID)); err != nil {
		return nil, err
	}
	defer os.RemoveAll(stdio)
	if err := n.enterStep(al, s); err != nil {
		s.pipes.Close()
		return nil, err
	}
	dir := n.workDir(al.Key, spec)
	if req.Dir != "" {
		dir = req.Dir
	}
	start, args := n.into(al.Key, dir, req.Args)
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

// listen takes in what comes for a running step until its connection is lost.
func (n *Node) listen(s *step, r *bufio.Reader, f *framer) {
	in := &input{to: s.pipes.In, taken: f}
	defer in.close()
	for {
		kind, data, err := readFrame(r)
		if err != nil {
			return
		}
		switch kind {
		case frameIn:
			if !in.add(data) {
				return
			}
		case frameSignal:
			if err := n.Keeper.Signal(n.life, s.id, string(data)); err != nil {
				n.Log.Debug("signal", "step", s.id, "error", err)
			}
		}
	}
}

// input is what a step has still to read.
type input struct {
	to    io.WriteCloser
	taken *framer

	mu      sync.Mutex
	queue   [][]byte
	waiting int
	busy    bool // a goroutine writes
	closed  bool
}

// add queues bytes, or for none the end; false when the sender disregards the window.
func (i *input) add(data []byte) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting += len(data)
	if i.waiting > stdinWindow || len(i.queue) > stdinWindow {
		return false
	}
	i.queue = append(i.queue, data)
	if !i.busy && !i.closed {
		i.busy = true
		go i.write()
	}
	return true
}

// write writes what is queued. Closing the pipe ends it when the program does not read.
func (i *input) write() {
	for {
		i.mu.Lock()
		if len(i.queue) == 0 || i.closed {
			i.busy = false
			i.mu.Unlock()
			return
		}
		data := i.queue[0]
		i.queue = i.queue[1:]
		i.mu.Unlock()
		if len(data) == 0 {
			i.to.Close()
			continue
		}
		i.to.Write(data) // what a program does not want is dropped, as a pipe does
		i.mu.Lock()
		i.waiting -= len(data)
		i.mu.Unlock()
		i.taken.send(frameTaken, fourBytes(len(data)))
	}
}

func (i *input) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.to.Close()
}

// pass sends what a step writes until it has no more; who no longer reads ends it with the connection.
func pass(f *framer, kind byte, from *os.File) {
	buf := make([]byte, 32<<10)
	for {
		k, err := from.Read(buf)
		if k > 0 {
			f.send(kind, buf[:k])
		}
		if err != nil {
			return
		}
	}
}

// stepEnv is what an allocation's command has, then what was asked, then what is this node's own.
func (n *Node) stepEnv(al *allocation, spec Spec, req StepRequest, account host.Account, dir string) []string {
	own := append(account.Env(), "PWD="+dir)
	own = slices.DeleteFunc(own, func(v string) bool { return strings.HasPrefix(v, "PATH=") })
	own = append(own, "BRAMBLE_NODE="+n.Conn.Who().Name, SocketVar+"="+n.doorPath(al.Key), SecretVar+"="+n.secret(al.Key))
	if exe, err := n.tool(); err == nil {
		own = append(own, "BRAMBLE_EXE="+exe)
	}
	own = append(own, req.Rank.env()...)
	return mergeEnv(n.environment(al.Attempt, spec, account, dir), req.Env, own)
}

// mergeEnv lays environments over each other, so that each name is there once.
func mergeEnv(layers ...[]string) []string {
	size := 0
	for _, layer := range layers {
		size += len(layer)
	}
	at, env := make(map[string]int, size), make([]string, 0, size)
	for _, layer := range layers {
		for _, v := range layer {
			name, _, _ := strings.Cut(v, "=")
			if i, known := at[name]; known {
				env[i] = v
				continue
			}
			at[name] = len(env)
			env = append(env, v)
		}
	}
	return env
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
