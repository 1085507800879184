package job

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"time"

	"bramble/fault"
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
	doBring   = "bring"   // asked by the leader's agent: brings what was changed, whose manifest is the answer
	doNumber  = "number"  // of a step that is about to begin, from 0 in each allocation
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
	case meets(req.Do), req.Do == doNumber: // ranks meet at the leader, which counts steps as well
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
	case req.Do == doBring:
		value, err = n.bring(ctx, al, from)
	case req.Do == doNumber:
		value, err = CountStep(n.countPath(al.Key))
	case req.Do == doCertify:
		value, err = n.certify(ctx, al, from, req)
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
