package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"bramble/fleet"
	"bramble/sim"
)

// fanOutTarget is how much faster than pdsh over ssh a command on all nodes is meant to be.
const fanOutTarget = 20

// fanOut measures a command on a rack of namespaces beside pdsh over ssh to the same ones.
func (b *bench) fanOut(ctx context.Context, s *section) error {
	s.title = fmt.Sprintf("A command on %d nodes", b.labNodes)
	s.how = fmt.Sprintf("`true` on each of %d nodes in network namespaces of their own on this one machine: whole processes, and for bramble also as a program with an open connection sees it. The peer is Debian's pdsh over openssh to the same namespaces, each with an sshd as fast as it can be set (no PAM, no look-ups, no ~/.bashrc), at pdsh's default of 32 at a time and with all at once.", b.labNodes)
	if os.Geteuid() != 0 {
		return fmt.Errorf("namespaces need root; try: sudo make bench")
	}
	b.say("fanout: raising %d nodes in namespaces", b.labNodes)
	r, err := b.raise(ctx, "rack", b.labNodes, true)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	s.note("%d nodes and a head were up %s after `lab up` began.", b.labNodes, seconds(r.took))
	names := r.names()
	bramble := &contender{name: "bramble run", run: process(b.exe, "run", "--cluster", r.State, "--on", fleet.Fold(names), "--", "true")}
	open := &contender{name: "a client of bramble", run: func(ctx context.Context) (time.Duration, error) {
		took, err := sim.FanOut(ctx, r.cluster.Fan, names, 1)
		return median(took), err
	}}
	if not := missing("pdsh", "ssh", "ssh-keygen"); len(not) > 0 {
		s.failed = "the peer needs " + strings.Join(not, ", ") + "; try: scripts/setup bench"
		if err := warmUp(ctx, bramble, open); err != nil {
			return err
		}
		err := interleave(ctx, b.runs, bramble, open)
		s.add(row{what: "`bramble run`", figure: bramble.figure(), target: "≥ 20×"})
		s.add(row{what: "with an open connection", figure: open.figure()})
		return err
	}
	b.say("fanout: starting an sshd on each")
	ssh, err := b.startSSH(ctx, r)
	if err != nil {
		return err
	}
	defer ssh.stop()
	usual := &contender{name: "pdsh", run: ssh.pdsh(r, 0, "true")}
	wide := &contender{name: "pdsh -f", run: ssh.pdsh(r, b.labNodes, "true")}
	b.say("fanout: bramble and pdsh in turns, %d times", b.runs)
	if err := warmUp(ctx, bramble, usual, open); err != nil {
		return err
	}
	err = interleave(ctx, b.runs, bramble, usual, open, wide)
	compare := func(what string, c, peer *contender, name string) {
		if len(c.took) == 0 || len(peer.took) == 0 {
			return
		}
		ratio := float64(median(peer.took)) / float64(median(c.took))
		s.add(row{what: what, figure: c.figure(), peer: name + ": " + peer.figure(), ratio: times(float64(median(peer.took)), float64(median(c.took))),
			target: fmt.Sprintf("≥ %d×", fanOutTarget), verdict: judge(ratio >= fanOutTarget)})
	}
	all := fmt.Sprintf("`pdsh -f %d`", b.labNodes)
	compare("`bramble run`", bramble, usual, "`pdsh`")
	compare("`bramble run`, pdsh with all at once", bramble, wide, all)
	compare("with an open connection", open, usual, "`pdsh`")
	compare("with an open connection, pdsh with all at once", open, wide, all)
	return err
}
