package mpi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"bramble/fault"
	"bramble/job"
)

const (
	probeTrips = 50
	probeBytes = 1 << 20
	probeLimit = 20 * time.Second
)

// Probe is one rank of the doctor's step, one on each node. Rank 0 writes the Health as JSON.
func Probe(ctx context.Context, in job.Inside, r job.Rank, out io.Writer) error {
	p := &probe{ctx: ctx, in: in, rank: r, conns: map[int]net.Conn{}}
	defer p.close()
	if err := p.meet(); err != nil {
		return err
	}
	var mine []Pair
	for _, round := range rounds(r.Ranks) {
		if pair := p.play(round); pair != nil {
			mine = append(mine, *pair)
		}
		if err := p.fence(fmt.Sprint("round ", round)); err != nil {
			return err
		}
	}
	ring, err := p.ring()
	if err != nil {
		return err
	}
	if err := p.fence("ring"); err != nil {
		return err
	}
	sum, reduce, err := p.reduce()
	if err != nil {
		return err
	}
	data, _ := json.Marshal(mine)
	if err := in.Put(ctx, r, fmt.Sprint("pairs ", r.Rank), data); err != nil {
		return err
	}
	if r.Rank != 0 {
		return p.fence("told")
	}
	h := Health{Nodes: p.nodes, Ring: ring, Reduce: reduce, Sum: sum}
	for rank := range r.Ranks {
		var pairs []Pair
		data, err := in.Get(ctx, r, fmt.Sprint("pairs ", rank))
		if err == nil {
			err = json.Unmarshal(data, &pairs)
		}
		if err != nil {
			return err
		}
		h.Pairs = append(h.Pairs, pairs...)
	}
	if err := p.fence("told"); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(h)
}

// rounds pairs all ranks with each other, each in one pair at a time: the circle method of tournaments.
func rounds(n int) [][][2]int {
	even := n + n%2
	circle := make([]int, even)
	for i := range circle {
		circle[i] = i
	}
	var all [][][2]int
	for range even - 1 {
		var round [][2]int
		for i := range even / 2 {
			a, b := circle[i], circle[even-1-i]
			if a < n && b < n {
				round = append(round, [2]int{min(a, b), max(a, b)})
			}
		}
		all = append(all, round)
		last := circle[even-1]
		copy(circle[2:], circle[1:even-1])
		circle[1] = last
	}
	return all
}

// probe is a rank with a connection to every other.
type probe struct {
	ctx   context.Context
	in    job.Inside
	rank  job.Rank
	nodes []string // by rank

	mu    sync.Mutex
	conns map[int]net.Conn
}

func (p *probe) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

func (p *probe) fence(name string) error { return p.in.Fence(p.ctx, p.rank, name) }

// greeting is what a rank tells the others.
type greeting struct {
	Node    string `json:"node"`
	Address string `json:"address"`
}

// meet connects all ranks: the higher one of each pair dials.
func (p *probe) meet() error {
	peers, err := p.in.Nodes(p.ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(peers, func(peer job.Peer) bool { return peer.Node == p.in.Node })
	if at < 0 {
		return fault.New(fault.Failed, "%s is not in the allocation", p.in.Node)
	}
	host, _, _ := net.SplitHostPort(peers[at].Address)
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return fmt.Errorf("listen on %s: %w", p.in.Node, err)
	}
	defer l.Close()
	data, _ := json.Marshal(greeting{p.in.Node, l.Addr().String()})
	if err := p.in.Put(p.ctx, p.rank, fmt.Sprint("at ", p.rank.Rank), data); err != nil {
		return err
	}
	p.nodes = make([]string, p.rank.Ranks)
	var accepted sync.WaitGroup
	accepted.Go(func() { p.accept(l, p.rank.Ranks-1-p.rank.Rank) })
	defer accepted.Wait()
	for rank := range p.rank.Ranks {
		var g greeting
		data, err := p.in.Get(p.ctx, p.rank, fmt.Sprint("at ", rank))
		if err == nil {
			err = json.Unmarshal(data, &g)
		}
		if err != nil {
			l.Close()
			return err
		}
		p.nodes[rank] = g.Node
		if rank < p.rank.Rank {
			p.dial(rank, g.Address)
		}
	}
	return nil
}

func (p *probe) dial(rank int, address string) {
	conn, err := net.DialTimeout("tcp", address, probeLimit)
	if err != nil {
		return // play tells
	}
	conn.Write([]byte{byte(p.rank.Rank >> 8), byte(p.rank.Rank)})
	p.note(rank, conn)
}

func (p *probe) accept(l net.Listener, count int) {
	l.(*net.TCPListener).SetDeadline(time.Now().Add(probeLimit))
	for range count {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		var who [2]byte
		conn.SetDeadline(time.Now().Add(probeLimit))
		if _, err := io.ReadFull(conn, who[:]); err != nil {
			conn.Close()
			continue
		}
		p.note(int(who[0])<<8|int(who[1]), conn)
	}
}

func (p *probe) note(rank int, conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[rank] = conn
}

// play measures this rank's pair of a round; the lower rank of it returns what was measured.
func (p *probe) play(round [][2]int) *Pair {
	for _, pair := range round {
		if pair[0] != p.rank.Rank && pair[1] != p.rank.Rank {
			continue
		}
		first := pair[0] == p.rank.Rank
		other := pair[0]
		if first {
			other = pair[1]
		}
		m := Pair{A: p.nodes[pair[0]], B: p.nodes[pair[1]]}
		conn := p.conns[other]
		if conn == nil {
			m.Error = "no connection"
		} else {
			conn.SetDeadline(time.Now().Add(probeLimit))
			err := m.measure(conn, first)
			if err != nil {
				m.Error = err.Error()
			}
		}
		if first {
			return &m
		}
	}
	return nil
}

// measure bounces a byte, then sends a megabyte, which the other answers with a byte.
func (m *Pair) measure(conn net.Conn, first bool) error {
	one, bulk := make([]byte, 1), make([]byte, probeBytes)
	if !first {
		for range probeTrips {
			if err := bounce(conn, one); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(conn, bulk); err != nil {
			return err
		}
		_, err := conn.Write(one)
		return err
	}
	best := time.Duration(1<<62 - 1)
	for range probeTrips {
		begun := time.Now()
		if err := pass1(conn, one); err != nil {
			return err
		}
		best = min(best, time.Since(begun))
	}
	m.Latency = best / 2
	begun := time.Now()
	if _, err := conn.Write(bulk); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, one); err != nil {
		return err
	}
	m.Mbits = probeBytes * 8 / 1e6 / time.Since(begun).Seconds()
	return nil
}

// pass1 sends a byte and reads one; bounce the other way round.
func pass1(conn net.Conn, one []byte) error {
	if _, err := conn.Write(one); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, one)
	return err
}

func bounce(conn net.Conn, one []byte) error {
	if _, err := io.ReadFull(conn, one); err != nil {
		return err
	}
	_, err := conn.Write(one)
	return err
}

// ring sends a byte from rank to rank until it is back at 0, and returns how long that took there.
func (p *probe) ring() (time.Duration, error) {
	n, self := p.rank.Ranks, p.rank.Rank
	next, before := p.conns[(self+1)%n], p.conns[(self+n-1)%n]
	if n < 2 || next == nil || before == nil {
		return 0, nil
	}
	one := []byte{1}
	deadline := time.Now().Add(probeLimit)
	next.SetDeadline(deadline)
	before.SetDeadline(deadline)
	begun := time.Now()
	if self == 0 {
		if _, err := next.Write(one); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(before, one)
		return time.Since(begun), err
	}
	if _, err := io.ReadFull(before, one); err != nil {
		return 0, err
	}
	_, err := next.Write(one)
	return 0, err
}

// reduce sums up the ranks, counted from 1, at rank 0, which tells all.
func (p *probe) reduce() (sum int, took time.Duration, err error) {
	begun := time.Now()
	number := func(v int) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
	read := func(conn net.Conn) (int, error) {
		var b [4]byte
		conn.SetDeadline(time.Now().Add(probeLimit))
		_, err := io.ReadFull(conn, b[:])
		return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]), err
	}
	sum = p.rank.Rank + 1
	if p.rank.Rank != 0 {
		conn := p.conns[0]
		if conn == nil {
			return 0, 0, fault.New(fault.Failed, "%s has no connection to %s", p.in.Node, p.nodes[0])
		}
		if _, err := conn.Write(number(sum)); err != nil {
			return 0, 0, err
		}
		sum, err = read(conn)
		return sum, 0, err
	}
	for rank := 1; rank < p.rank.Ranks; rank++ {
		if p.conns[rank] == nil {
			return 0, 0, fault.New(fault.Failed, "%s has no connection to %s", p.in.Node, p.nodes[rank])
		}
		v, err := read(p.conns[rank])
		if err != nil {
			return 0, 0, err
		}
		sum += v
	}
	for rank := 1; rank < p.rank.Ranks; rank++ {
		if _, err := p.conns[rank].Write(number(sum)); err != nil {
			return 0, 0, err
		}
	}
	return sum, time.Since(begun), nil
}
