package job

import (
	"bufio"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/fault"
)

// What a job of several nodes has changed in its folder on the others than the leader, or of it what it named, comes back as
// well: when the command has ended, the leader has each of them bring it, before it reports the end.

// Return is what came back of an attempt from one more node.
type Return struct {
	Node string `json:"node"`
	Ref  string `json:"ref"` // artefact manifest
}

const (
	// gatherers is how many nodes bring their files at the same time.
	gatherers = 8
	// maxReturned is how many bytes the names of all that came back of one attempt may take.
	maxReturned = 1 << 20
)

// bringAll has the other nodes of an attempt whose command has ended bring what they have changed. fault.Unreachable when
// one does not answer that may yet.
func (n *Node) bringAll(k Key, spec Spec) ([]Return, error) {
	n.mu.Lock()
	al := n.allocations[k]
	if al == nil { // it ended under an earlier agent
		al = &allocation{Attempt: n.takes[k], peers: make(chan []Peer, 1)}
		al.peers <- nil
	}
	n.mu.Unlock()
	if al.Member || len(al.Shares) < 2 || !spec.brings() || n.Peers == nil {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(n.life)
	defer cancel()
	go func() { // a node that hangs is given up with the attempt
		for ctx.Err() == nil && !n.isKilled(k) {
			pause(ctx, time.Second)
		}
		cancel()
	}()
	peers, err := n.peersOf(ctx, al)
	if err != nil {
		return nil, err
	}
	var group errgroup.Group
	group.SetLimit(gatherers)
	list := make([]Return, len(peers)-1)
	for i, p := range peers[1:] {
		group.Go(func() (err error) {
			list[i].Node = p.Node
			list[i].Ref, err = n.broughtBy(ctx, p, k)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(r Return) bool { return r.Ref == "" }), nil
}

// broughtBy is what another node brings; "" for nothing, as from one of an earlier version, which knows no such request.
func (n *Node) broughtBy(ctx context.Context, p Peer, k Key) (ref string, err error) {
	if p.Address == "" {
		n.Log.Warn("what a job has changed on another node does not come back: its agent answers no others", "task", k.String(), "node", p.Node)
		return "", nil
	}
	conn, err := n.Peers.Dial(ctx, p.Node, p.Address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := (&framer{w: conn}).sendJSON(frameAsk, StepRequest{Key: k, Do: doBring}); err != nil {
		return "", fault.New(fault.Unreachable, "the agent of %s was lost: %w", p.Node, err)
	}
	end, err := receive(bufio.NewReader(conn), StepFiles{}, newRoom(0))
	switch {
	case err != nil:
		return "", fault.New(fault.Unreachable, "the agent of %s was lost: %w", p.Node, err)
	case fault.Is(end.err(), fault.Misused):
		n.Log.Warn("what a job has changed on another node does not come back: its agent is of an earlier version", "task", k.String(), "node", p.Node)
		return "", nil
	case end.Error != nil:
		return "", end.err()
	}
	return ref, json.Unmarshal(end.Value, &ref)
}

// bring answers the leader, whose command has ended: what still runs in the share here is ended, and what was changed
// in its folder goes to the head.
func (n *Node) bring(ctx context.Context, al *allocation, from string) (ref string, err error) {
	peers, err := n.peersOf(ctx, al)
	if err != nil {
		return "", err
	}
	if !al.Member || from != peers[0].Node {
		return "", fault.New(fault.Denied, "only the leader of job %d may ask this", al.Job)
	}
	n.endSteps(al.Key)
	spec, err := n.spec(ctx, al.Key)
	if err != nil {
		return "", err
	}
	return n.returned(ctx, al.Key, spec)
}

// returnedText names all that came back of an attempt: REF@NODE with spaces between, the leader's first, whose REF may be missing.
func (r *Result) returnedText() string {
	var b strings.Builder
	b.WriteString(r.Returns + "@" + r.Node)
	for _, other := range r.Others {
		if item := " " + other.Ref + "@" + other.Node; !strings.ContainsAny(item[1:], " /") && b.Len()+len(item) <= maxReturned {
			b.WriteString(item)
		}
	}
	return b.String()
}

// readReturned reads that text.
func readReturned(text string) (list []Return) {
	for item := range strings.SplitSeq(text, " ") {
		ref, node, _ := strings.Cut(item, "@")
		list = append(list, Return{Node: node, Ref: ref})
	}
	return list
}
