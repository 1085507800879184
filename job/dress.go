package job

import (
	"context"
	"fmt"
	"os"
	"time"

	"bramble/fault"
	"bramble/host"
)

// Dress says what more the command of an allocation finds in its environment, and may put files into its folder:
// what programs need that want to start processes on the allocation's nodes by themselves.
type Dress func(Dressing) ([]string, error)

// Dressing is an allocation whose command is about to start.
type Dressing struct {
	Key     Key
	Peers   []Peer // leader first
	Dir     string // for files, which all may read
	Exe     string // bramble's program
	Account host.Account
}

func (n *Node) dressDir(k Key) string { return n.taskDir(k) + ".etc" }

// dress is what more an allocation's processes find on this node. The head is asked, however long it is away, where the nodes are.
func (n *Node) dress(ctx context.Context, a Attempt, account host.Account) ([]string, error) {
	n.mu.Lock()
	al := n.allocations[a.Key]
	n.mu.Unlock()
	if al == nil || n.Dress == nil {
		return nil, nil
	}
	peers, err := n.peersOf(ctx, al)
	for fault.Is(err, fault.Unreachable) && !n.isKilled(a.Key) && ctx.Err() == nil {
		pause(ctx, time.Second)
		peers, err = n.peersOf(ctx, al)
	}
	if err != nil {
		return nil, err
	}
	dir := n.dressDir(a.Key)
	exe, err := n.tool()
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	var env []string
	if err == nil {
		env, err = n.Dress(Dressing{Key: a.Key, Peers: peers, Dir: dir, Exe: exe, Account: account})
	}
	if err != nil {
		return nil, fmt.Errorf("set up the allocation: %w", err)
	}
	return append(env, "BRAMBLE_EXE="+exe), nil
}
