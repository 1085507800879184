package job

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"bramble/fault"
	"bramble/host"
)

// Ranks is a step of several processes over the nodes of one's own allocation.
type Ranks struct {
	Count   int      // how many; 0: as many as the allocation has, or PerNode on each of its nodes
	Nodes   int      // on the first so many nodes; 0: on as many as it takes
	PerNode int      // on each node, in turn; 0: as the allocation has them
	Each    int      // how many of the allocation's ranks one takes the place of, having their cores; 0: one
	On      []string // only these nodes
	Args    []string
	Program string // which goes to all nodes when it is a file of the job's
	Env     []string
	Dir     string     // "": where the process that starts them is, on other nodes in the same place below the job's folder
	TTY     *host.Size // for one process only
	// KeepGoing lets the others go on when a rank has failed or was lost; else they are ended.
	KeepGoing bool
}

// RankEnd is how a rank ended.
type RankEnd struct {
	Rank int
	Node string
	Exit host.Exit
	Err  error // it did not run, was lost, or was ended for another's failure
}

// OK reports whether the rank ran and succeeded.
func (e RankEnd) OK() bool { return e.Err == nil && e.Exit.OK() }

// Place is the node of each rank, in order of rank: the ranks of one node follow each other.
func (r Ranks) Place(peers []Peer) ([]string, error) {
	if len(r.On) > 0 {
		for _, name := range r.On {
			if !slices.ContainsFunc(peers, func(p Peer) bool { return p.Node == name }) {
				return nil, fault.New(fault.Denied, "%s is not in this allocation", name).Hint("one of %s", foldPeers(peers))
			}
		}
		peers = slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return !slices.Contains(r.On, p.Node) })
	}
	if r.Nodes > len(peers) {
		return nil, fault.New(fault.Misused, "the allocation has %d nodes, not %d", len(peers), r.Nodes).Hint("-N %d", len(peers))
	}
	if r.Nodes > 0 {
		peers = peers[:r.Nodes]
	}
	room := make([]int, len(peers))
	total := 0
	for i, p := range peers {
		if room[i] = p.Ranks / max(1, r.Each); r.PerNode > 0 {
			room[i] = r.PerNode
		}
		total += room[i]
	}
	if total == 0 {
		return nil, fault.New(fault.Misused, "no node of the allocation has the cores for one such rank").Hint("fewer cores for each, or a job with more for each of its own")
	}
	count := r.Count
	if count == 0 {
		count = total
	}
	if count > total && r.PerNode == 0 {
		return nil, fault.New(fault.Misused, "the allocation has %d ranks on these nodes, not %d", total, count).Hint("-n %d, or --ntasks-per-node to have more of them than was asked for", total)
	}
	if count > total {
		return nil, fault.New(fault.Misused, "%d nodes with %d ranks each hold %d, not %d", len(peers), r.PerNode, total, count).Hint("-n %d", total)
	}
	if r.Nodes > 0 && r.PerNode == 0 { // all of these nodes are to have some
		room = evenly(room, count)
	}
	var nodes []string
	for i, p := range peers {
		for range min(room[i], count-len(nodes)) {
			nodes = append(nodes, p.Node)
		}
	}
	return nodes, nil
}

// evenly shares out so many among what each has room for.
func evenly(room []int, count int) []int {
	share := make([]int, len(room))
	for count > 0 {
		for i := range room {
			if count > 0 && share[i] < room[i] {
				share[i]++
				count--
			}
		}
	}
	return share
}

// RunRanks runs a step and returns how its ranks ended, in order. What each rank reads and writes is what files returns for it.
func (in Inside) RunRanks(ctx context.Context, r Ranks, files func(rank int, node string) StepFiles) ([]RankEnd, error) {
	peers, err := in.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := r.Place(peers)
	if err != nil {
		return nil, err
	}
	if r.Dir == "" {
		r.Dir = in.here()
	}
	if err := in.Ship(ctx, r.Program, nodes); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	name := strings.ToLower(rand.Text()[:12])
	ends := make([]RankEnd, len(nodes))
	var all sync.WaitGroup
	local := map[string]int{}
	for i, node := range nodes {
		rank := Rank{Step: name, Rank: i, Ranks: len(nodes), Local: local[node], Alone: r.KeepGoing}
		local[node]++
		its := files(i, node) // in order of rank, one after the other
		all.Go(func() {
			end := RankEnd{Rank: i, Node: node}
			end.Exit, end.Err = in.Run(ctx, StepCommand{Node: node, Args: r.Args, Env: r.Env, Dir: r.Dir, TTY: r.TTY, Rank: rank}, its)
			if c, ok := its.Stdin.(io.Closer); ok {
				c.Close()
			}
			if why := context.Cause(ctx); end.Err != nil && ctx.Err() != nil {
				end.Err = why
			}
			ends[i] = end
			if !end.OK() {
				in.Lost(context.WithoutCancel(ctx), rank)
			}
			if !end.OK() && !r.KeepGoing {
				cancel(fault.New(fault.Interrupted, "ended because rank %d on %s failed", i, node))
			}
		})
	}
	all.Wait()
	in.Over(context.WithoutCancel(ctx), Rank{Step: name, Ranks: len(nodes)})
	return ends, nil
}

// FailedRank is what to say of ranks that ended: the first that failed by itself; nil when all did well.
func FailedRank(ends []RankEnd) error {
	for _, byItself := range []bool{true, false} {
		for _, e := range ends {
			if e.OK() || byItself && fault.Is(e.Err, fault.Interrupted) {
				continue
			}
			return fault.New(fault.Failed, "rank %d on %s %s", e.Rank, e.Node, e.how())
		}
	}
	return nil
}

func (e RankEnd) how() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("was lost: %v", e.Err)
	case e.Exit.OOM:
		return "needed more memory than it may have"
	case e.Exit.Signal != "":
		return "was ended by " + e.Exit.Signal
	}
	return fmt.Sprintf("ended with status %d", e.Exit.Code)
}
