package main

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"bramble/artefact"
	"bramble/fleet"
	hostnet "bramble/host/net"
	"bramble/lab"
)

const (
	spreadLink = "100mbit"
	linkBits   = 100_000_000 // a second
)

// How many times as long as one link needs a file may take to reach all nodes.
const (
	spreadTarget = 1.10
	killedTarget = 1.15
)

const (
	archiveBytes  = 40 << 20
	changedTarget = 0.05 // of its bytes
)

// oneLink is the time that one node's link needs for the file alone.
func (b *bench) oneLink() time.Duration {
	return time.Duration(float64(b.spreadBytes) * 8 / linkBits * float64(time.Second))
}

// spread measures a file's way to nodes whose links are a board's.
func (b *bench) spread(ctx context.Context, s *section) error {
	s.title = fmt.Sprintf("%d MiB to %d nodes", b.spreadBytes>>20, b.spreadNodes)
	s.how = fmt.Sprintf("`bramble push` of random bytes to %d nodes in namespaces of their own on this one machine, each with a link of 100 Mbit/s, as the head's is: from the moment when the head has the file until the last node does, every byte proved and on its disk. One link needs %s for it. What all nodes do together, %d cores do here.", b.spreadNodes, seconds(b.oneLink()), runtime.NumCPU())
	if os.Geteuid() != 0 {
		return fmt.Errorf("namespaces need root; try: sudo make bench")
	}
	b.say("spread: raising %d nodes with links of %s", b.spreadNodes, spreadLink)
	rate, err := hostnet.ParseRate(spreadLink)
	if err != nil {
		return err
	}
	r, err := b.raiseAs(ctx, "spread", lab.Options{Nodes: b.spreadNodes, Link: rate})
	if err != nil {
		return err
	}
	defer r.down(ctx)
	runs := min(b.runs, enough)
	all := &contender{name: "bramble push", run: func(ctx context.Context) (time.Duration, error) { return b.pushed(ctx, r, "") }}
	b.say("spread: %d files, one after the other", runs)
	busy, err := r.cpu()
	if err != nil {
		return err
	}
	if err := interleave(ctx, runs, all); err != nil {
		return err
	}
	after, err := r.cpu()
	if err != nil {
		return err
	}
	s.add(all.beside(b.oneLink(), "to all", spreadTarget))
	s.note("Each took %s of processor time in the head and the nodes together, the first one's upload included.", seconds((after-busy)/time.Duration(runs)))
	b.say("spread: once more, and a node in the middle is killed on the way")
	one := &contender{name: "with a node killed", run: func(ctx context.Context) (time.Duration, error) {
		return b.pushed(ctx, r, r.nodes[len(r.nodes)/2].Name)
	}}
	if err := interleave(ctx, 1, one); err != nil {
		return err
	}
	s.add(one.beside(b.oneLink(), "to all others when one is killed on the way", killedTarget))
	if err := r.revive(ctx, r.nodes[len(r.nodes)/2].Name); err != nil {
		return err
	}
	if err := b.slowNode(ctx, s, r, median(all.took)); err != nil {
		return err
	}
	b.say("spread: an archive, and again with one file changed")
	if err := b.changed(ctx, s, r); err != nil {
		return err
	}
	return b.peers(ctx, s, r)
}

// changed measures how much of an archive moves when one file in it was changed.
func (b *bench) changed(ctx context.Context, s *section, r *rack) error {
	path := filepath.Join(b.dir, "archive.tar")
	defer os.Remove(path)
	var moved, size int64
	for _, version := range []string{"first", "second"} {
		if err := archive(path, archiveBytes, version); err != nil {
			return err
		}
		moved = 0
		for ev, err := range r.cluster.Copies().Push(ctx, artefact.Push{On: r.nodes[0].Name, To: "/tmp/archive.tar", Sources: []string{path}}) {
			if err != nil {
				return err
			}
			if ev.Kind == artefact.Ended {
				if !ev.End.OK() {
					return fmt.Errorf("%s: %s", ev.Node, ev.End.Error)
				}
				moved, size = ev.End.Moved, ev.End.Bytes
			}
		}
	}
	share := float64(moved) / float64(size)
	s.add(row{what: fmt.Sprintf("a tar archive of %s in which one file was changed", mebibytes(size)), figure: fmt.Sprintf("%s moved, %.2f %%", mebibytes(moved), 100*share),
		target: fmt.Sprintf("≤ %.0f %%", 100*changedTarget), verdict: judge(share <= changedTarget)})
	return nil
}

// archive writes a tar of files of this machine, and one in the middle that says which version it is.
func archive(path string, most int64, version string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	add := func(name string, data []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	written, named := int64(0), false
	err = filepath.WalkDir("/usr/share", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if written += int64(len(data)); written > most {
			return fs.SkipAll
		}
		if written > most/2 && !named {
			named = true
			if err := add("version", []byte("this is the "+version+" version")); err != nil {
				return err
			}
		}
		return add(path, data)
	})
	return errors.Join(err, w.Close())
}

// beside is a row that compares a contender's times with what one link needs.
func (c *contender) beside(oneLink time.Duration, what string, target float64) row {
	ratio := float64(median(c.took)) / float64(oneLink)
	return row{what: what, figure: c.figure(), peer: "one link: " + seconds(oneLink), ratio: fmt.Sprintf("%.2f×", ratio),
		target: fmt.Sprintf("≤ %.2f×", target), verdict: judge(ratio <= target)}
}

// pushed is how long a new file takes from the head to all nodes; one of them may be killed when half of it is there.
func (b *bench) pushed(ctx context.Context, r *rack, victim string) (time.Duration, error) {
	return b.pushedButFor(ctx, r, victim, "")
}

// pushedButFor does not wait for one of the nodes.
func (b *bench) pushedButFor(ctx context.Context, r *rack, victim, late string) (time.Duration, error) {
	path := filepath.Join(b.dir, "spread.bin")
	data := make([]byte, b.spreadBytes)
	rand.Read(data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return 0, err
	}
	defer os.Remove(path)
	var begun, last time.Time
	var kill sync.Once
	var killed error
	have, wanted := map[string]bool{}, len(r.nodes)
	if late != "" {
		have[late] = true
	}
	for ev, err := range r.cluster.Copies().Push(ctx, artefact.Push{On: fleet.Fold(r.names()), To: "/tmp/spread.bin", Sources: []string{path}}) {
		if err != nil {
			return 0, err
		}
		switch {
		case ev.Kind == artefact.Uploading && ev.Done == ev.Total:
			begun = time.Now()
		case ev.Kind == artefact.Moving && ev.Step == artefact.Fetching:
			if ev.Node == victim && ev.Done > ev.Total/2 {
				kill.Do(func() { killed = r.Kill(ctx, victim) })
			}
			if ev.Done == ev.Total && ev.Total > 0 && !have[ev.Node] {
				have[ev.Node], last = true, time.Now()
			}
			if late != "" && len(have) == wanted {
				return last.Sub(begun), nil
			}
		case ev.Kind == artefact.Ended && !ev.End.OK() && ev.Node == victim:
			wanted--
		case ev.Kind == artefact.Ended && !ev.End.OK():
			return 0, fmt.Errorf("%s: %s", ev.Node, ev.End.Error)
		}
	}
	delete(have, victim)
	if victim != "" && wanted == len(r.nodes) {
		return 0, fmt.Errorf("%s was not killed in time: %v", victim, killed)
	}
	if len(have) < wanted {
		return 0, fmt.Errorf("only %d of %d nodes have it", len(have), wanted)
	}
	return last.Sub(begun), killed
}

// cpu is the processor time that the head and all nodes have used.
func (r *rack) cpu() (sum time.Duration, err error) {
	all, err := r.PS()
	for _, p := range all {
		sum += cpuOf(p.Agent) + cpuOf(p.Keeper)
	}
	return sum, err
}
