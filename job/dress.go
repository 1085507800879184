package job

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
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
	// Scratch is a path in memory, the same on every node, where the account may make a folder for small files; it and what has a
	// name that begins so are removed with the allocation. "" where there is none.
	Scratch string
}

const dressSuffix = ".etc"

func (n *Node) dressDir(k Key) string { return n.taskDir(k) + dressSuffix }

// memoryDir is a file system in memory that all accounts may write to, on every Linux.
const memoryDir = "/dev/shm"

// scratchName is the link in dressDir that a later agent knows the scratch by.
const scratchName = "scratch"

// scratch is an allocation's place in memory. Its leader's address keeps apart those of clusters that share a machine.
func scratch(k Key, peers []Peer) string {
	if info, err := os.Stat(memoryDir); err != nil || !info.IsDir() || len(peers) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(peers[0].Node + " " + peers[0].Address))
	return filepath.Join(memoryDir, fmt.Sprintf("bramble-%s-%x", k, sum[:4]))
}

// undress removes what was made for an allocation's command.
func (n *Node) undress(dir string) {
	if place, err := os.Readlink(filepath.Join(dir, scratchName)); err == nil && filepath.Dir(place) == memoryDir {
		all, _ := filepath.Glob(globbed(place) + "*")
		for _, one := range all {
			os.RemoveAll(one)
		}
	}
	os.RemoveAll(dir)
}

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
	place := scratch(a.Key, peers)
	if err == nil && place != "" {
		os.Remove(filepath.Join(dir, scratchName))
		err = os.Symlink(place, filepath.Join(dir, scratchName))
	}
	var env []string
	if err == nil {
		env, err = n.Dress(Dressing{Key: a.Key, Peers: peers, Dir: dir, Exe: exe, Account: account, Scratch: place})
	}
	if err != nil {
		return nil, fmt.Errorf("set up the allocation: %w", err)
	}
	return append(env, "BRAMBLE_EXE="+exe), nil
}
