package job

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/keeper"
)

// allocation is what a node knows of an attempt in which steps may run: one of several nodes or ranks.
// Node.mu guards it.
type allocation struct {
	Attempt
	made  chan struct{} // closed when steps may start
	over  bool          // no more steps
	steps map[string]*step
	door  net.Listener // the socket
	peers chan []Peer  // holds what the head said of the allocation's nodes, or nothing yet
	meet  *meeting
	why   string // what the command says of its end
}

// Limits of an allocation on one node.
const (
	maxSteps = 512  // that run at a time
	maxDoor  = 1024 // connections to the socket
)

const headWithin = 15 * time.Second // for the head's answer about an allocation

func (a *Attempt) takesSteps() bool { return a.Member || len(a.Shares) > 0 }

// open enters an allocation. n.mu is held.
func (n *Node) openAllocation(a Attempt) *allocation {
	al := &allocation{Attempt: a, made: make(chan struct{}), steps: map[string]*step{}, peers: make(chan []Peer, 1), meet: newMeeting()}
	al.peers <- nil
	n.allocations[a.Key] = al
	return al
}

// isReady lets an allocation's steps start, unless it was ended meanwhile.
func (n *Node) isReady(k Key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	al := n.allocations[k]
	if al == nil || al.over || n.killed[k] {
		return false
	}
	if al.isMade() {
		return true
	}
	if n.Peers == nil {
		close(al.made)
		return true
	}
	if err := n.openDoor(al); err != nil {
		n.Log.Warn("processes of an allocation cannot reach this agent", "task", k.String(), "error", err)
	}
	close(al.made)
	return true
}

func (al *allocation) isMade() bool {
	select {
	case <-al.made:
		return true
	default:
		return false
	}
}

// closeAllocation forgets an allocation. n.mu is held.
func (n *Node) closeAllocation(k Key) {
	al := n.allocations[k]
	if al == nil {
		return
	}
	al.over = true
	if al.door != nil {
		al.door.Close()
	}
	al.meet.close()
	delete(n.allocations, k)
	paths := []string{n.holdPath(k), n.doorPath(k), n.countPath(k)}
	n.spawn(func() {
		for _, path := range paths {
			os.Remove(path)
		}
		n.undress(n.dressDir(k))
	})
}

// endSteps ends what runs in an allocation, and lets nothing more start.
func (n *Node) endSteps(k Key) {
	n.mu.Lock()
	al := n.allocations[k]
	var left []*step
	if al != nil {
		al.over = true
		for _, s := range al.steps {
			left = append(left, s)
		}
	}
	n.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range left {
		all.Go(func() { n.endStep(s) })
	}
	all.Wait()
}

const doorSuffix = ".sock"

// doorPath is the socket that an allocation's processes find their agent by, beside holdPath.
func (n *Node) doorPath(k Key) string { return n.taskDir(k) + doorSuffix }

// countPath is the file in which an allocation's steps are counted, beside holdPath: a later agent goes on.
func (n *Node) countPath(k Key) string { return n.taskDir(k) + ".count" }

// openDoor makes the socket, which only the allocation's account reaches, and answers on it. n.mu is held.
func (n *Node) openDoor(al *allocation) error {
	account, _, err := n.account(n.specs[al.Job])
	if err != nil {
		return err
	}
	socket := n.doorPath(al.Key)
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path, done, err := keeper.ShortPath(socket)
	if err != nil {
		return err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(socket, 0o600); err == nil && os.Geteuid() == 0 {
		err = os.Lchown(socket, int(account.UID), int(account.GID))
	}
	if err != nil {
		l.Close()
		return err
	}
	al.door = l
	n.spawn(func() { n.atDoor(al, l) })
	return nil
}

// atDoor serves an allocation's processes until the allocation is over.
func (n *Node) atDoor(al *allocation, l net.Listener) {
	ctx, cancel := context.WithCancel(n.life)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	room := make(chan struct{}, maxDoor)
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause(ctx, 100*time.Millisecond)
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		n.mu.Lock()
		n.spawn(func() {
			defer func() { <-room }()
			defer conn.Close()
			n.fromInside(ctx, al, conn)
		})
		n.mu.Unlock()
	}
}

// secret is what processes of an attempt show on this node: nobody knows another's.
func (n *Node) secret(k Key) string {
	mac := hmac.New(sha256.New, n.seal)
	mac.Write([]byte(k.String()))
	return hex.EncodeToString(mac.Sum(nil))
}

// knows reports whether a secret is the attempt's, in the same time for all wrong ones.
func (n *Node) knows(k Key, secret string) bool {
	return hmac.Equal([]byte(n.secret(k)), []byte(secret))
}

const sealName = "seal"

// openSeal reads what secrets are made of, or makes it; with it they outlive the agent.
func (n *Node) openSeal() error {
	path := filepath.Join(n.Dir, sealName)
	data, err := os.ReadFile(path)
	if err == nil && len(data) == sha256.Size {
		n.seal = data
		return nil
	}
	n.seal = make([]byte, sha256.Size)
	rand.Read(n.seal)
	if err = os.WriteFile(path+".new", n.seal, 0o600); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("keep what secrets are made of: %w", err)
	}
	return nil
}

// Peer is one node of an allocation, as the head knows it.
type Peer struct {
	Share
	Arch    string `json:"arch"`
	Address string `json:"address"` // where its agent answers others', HOST:PORT; "" when it does not
	Cores   int    `json:"cores,omitempty"`
}

// host is the peer's IP address.
func (p Peer) host() string {
	h, _, _ := net.SplitHostPort(p.Address)
	return h
}

// of is the nodes of the allocation, leader first; the head is asked once.
func (n *Node) peersOf(ctx context.Context, al *allocation) (list []Peer, err error) {
	select {
	case list = <-al.peers:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { al.peers <- list }()
	if list != nil {
		return list, nil
	}
	ctx, cancel := context.WithTimeout(ctx, headWithin)
	defer cancel()
	if err = n.Conn.Call(ctx, bus.From("job", n.Conn.Who().Name, "step"), stepCheck{al.Key}, &list); err != nil {
		return nil, err
	}
	return list, nil
}

// peer is a node of the allocation; fault.Denied for any other.
func (n *Node) peerOf(ctx context.Context, al *allocation, name string) (Peer, error) {
	list, err := n.peersOf(ctx, al)
	if err != nil {
		return Peer{}, err
	}
	for _, p := range list {
		if p.Node == name {
			return p, nil
		}
	}
	return Peer{}, fault.New(fault.Denied, "%s is not in the allocation of job %d", strconv.Quote(name), al.Job).Hint("one of %s", foldPeers(list))
}

// holdsSteps reports whether steps run in an attempt here.
func (n *Node) holdsSteps(k Key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	al := n.allocations[k]
	return al != nil && len(al.steps) > 0
}
