package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bramble/fan"
	"bramble/fleet"
	hostnet "bramble/host/net"
	"bramble/lab"
)

// How much longer a slow node may make it take for the others, and how many times as long as one link needs many nodes may.
const (
	slowTarget = 1.3
	slowLink   = "10mbit"
	manyTarget = 1.25
	manyNodes  = 64
)

// slowNode measures what a node at a tenth of the speed costs the others.
func (b *bench) slowNode(ctx context.Context, s *section, r *rack, usual time.Duration) error {
	b.say("spread: once more, and a node in the middle has a link of %s", slowLink)
	rate, err := hostnet.ParseRate(slowLink)
	if err != nil {
		return err
	}
	name := r.nodes[len(r.nodes)/2].Name
	if err := r.Slow(ctx, name, rate); err != nil {
		return err
	}
	defer r.Heal(ctx, name)
	took, err := b.pushedButFor(ctx, r, "", name)
	if err != nil {
		return err
	}
	ratio := float64(took) / float64(usual)
	s.add(row{what: "to all others when one has a link of " + slowLink, figure: seconds(took), peer: "without: " + seconds(usual), ratio: fmt.Sprintf("%.2f×", ratio),
		target: fmt.Sprintf("≤ %.1f×", slowTarget), verdict: judge(ratio <= slowTarget)})
	return nil
}

// many measures the same file's way to more nodes.
func (b *bench) many(ctx context.Context, s *section) error {
	nodes := manyNodes * b.spreadNodes / 16
	s.title = fmt.Sprintf("%d MiB to %d nodes", b.spreadBytes>>20, nodes)
	s.how = fmt.Sprintf("As to fewer, once. One link needs %s for it.", seconds(b.oneLink()))
	if os.Geteuid() != 0 {
		return fmt.Errorf("namespaces need root; try: sudo make bench")
	}
	b.say("many: raising %d nodes with links of %s", nodes, spreadLink)
	rate, err := hostnet.ParseRate(spreadLink)
	if err != nil {
		return err
	}
	r, err := b.raiseAs(ctx, "many", lab.Options{Nodes: nodes, Link: rate})
	if err != nil {
		return err
	}
	defer r.down(ctx)
	all := &contender{name: "bramble push", run: func(ctx context.Context) (time.Duration, error) { return b.pushed(ctx, r, "") }}
	if err := interleave(ctx, 1, all); err != nil {
		return err
	}
	s.add(all.beside(b.oneLink(), "to all", manyTarget))
	return nil
}

// peers measures how the same file gets to the same nodes without bramble: by a chain that does nothing else, which is the
// least that these links take of this machine, from one HTTP server, and by BitTorrent. The
// programs are started through bramble, which is not in their way then.
func (b *bench) peers(ctx context.Context, s *section, r *rack) error {
	if lacking := missing("nginx", "curl", "aria2c", "opentracker", "mktorrent"); len(lacking) > 0 {
		s.note("One HTTP server and BitTorrent were not measured: this needs %s; try: scripts/setup bench.", strings.Join(lacking, ", "))
		return nil
	}
	head, err := r.cluster.Fleet.Select(ctx, lab.Head)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.dir, "peers-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the tracker is nobody, and this is all that it sees
		return err
	}
	p := &spreadPeers{b: b, r: r, dir: dir, head: head[0].Address}
	for _, peer := range []struct {
		name string
		size int
		run  func(context.Context, string) (time.Duration, error)
	}{
		{"by a bare chain (plain TCP, nothing proved)", b.spreadBytes, p.relays},
		{"from one HTTP server (nginx, curl)", b.spreadBytes / 4, p.http},
		{"by BitTorrent (aria2, opentracker)", b.spreadBytes, p.torrent},
	} {
		b.say("spread: %s", peer.name)
		data := make([]byte, peer.size)
		rand.Read(data)
		if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
			return err
		}
		took, err := peer.run(ctx, filepath.Join(dir, "file"))
		if err != nil {
			return fmt.Errorf("%s: %w", peer.name, err)
		}
		link := b.oneLink() * time.Duration(peer.size) / time.Duration(b.spreadBytes)
		s.add(row{what: fmt.Sprintf("%d MiB %s", peer.size>>20, peer.name), figure: seconds(took), peer: "one link: " + seconds(link), ratio: fmt.Sprintf("%.1f×", float64(took)/float64(link))})
	}
	return nil
}

// spreadPeers runs other programs in a lab.
type spreadPeers struct {
	b    *bench
	r    *rack
	dir  string
	head string // its address
}

// serve runs a command on the head until stop is called, which waits for its end.
func (p *spreadPeers) serve(ctx context.Context, line string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range p.r.cluster.Fan.Run(ctx, fan.Request{On: lab.Head, Args: []string{line}, As: "root"}, nil) {
		}
	}()
	return func() { cancel(); <-ended }
}

// until runs a command on all nodes until each has said a word, and returns how long that took.
func (p *spreadPeers) until(ctx context.Context, word, line string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := time.Now()
	have, last := map[string]bool{}, map[string]string{}
	for ev, err := range p.r.cluster.Fan.Run(ctx, fan.Request{On: fleet.Fold(p.r.names()), Args: []string{line}, As: "root"}, nil) {
		switch {
		case err != nil:
			return 0, err
		case ev.Kind == fan.Ended && !have[ev.Node]:
			return 0, fmt.Errorf("%s: %+v: %s", ev.Node, ev.End, last[ev.Node])
		case ev.Kind == fan.Stdout || ev.Kind == fan.Stderr:
			if last[ev.Node] += string(ev.Data); strings.Contains(last[ev.Node], word) {
				have[ev.Node] = true
			}
			if len(have) == len(p.r.nodes) {
				return time.Since(begun), nil
			}
		}
	}
	return 0, fmt.Errorf("only %d of %d nodes have it", len(have), len(p.r.nodes))
}

// http has every node take the file from the head.
func (p *spreadPeers) http(ctx context.Context, file string) (time.Duration, error) {
	conf := filepath.Join(p.dir, "nginx.conf")
	text := fmt.Sprintf("daemon off; pid %[1]s/nginx.pid; error_log stderr;\nevents { worker_connections 512; }\nhttp { access_log off; sendfile on; server { listen %[2]s:8099; root %[1]s; } }\nuser root;\n", p.dir, p.head)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return 0, err
	}
	defer p.serve(ctx, "exec nginx -c "+conf)()
	url := fmt.Sprintf("http://%s:8099/%s", p.head, filepath.Base(file))
	return p.until(ctx, "came", fmt.Sprintf("curl -sf --retry 20 --retry-connrefused --retry-delay 1 -o /tmp/peer.bin %s && echo came", url))
}

// torrent has the head seed the file, and the nodes give each other what they have.
func (p *spreadPeers) torrent(ctx context.Context, file string) (time.Duration, error) {
	meta := file + ".torrent"
	os.Remove(meta)
	if err := command(ctx, nil, "mktorrent", "-a", fmt.Sprintf("http://%s:6969/announce", p.head), "-o", meta, file); err != nil {
		return 0, err
	}
	hash, err := infoHash(meta)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "allowed"), []byte(hash+"\n"), 0o644); err != nil { // Debian's tracker answers for nothing else
		return 0, err
	}
	common := "--enable-dht=false --enable-dht6=false --bt-enable-lpd=false --seed-ratio=0 --summary-interval=0 --file-allocation=none --bt-tracker-interval=1 --bt-max-peers=0 --bt-request-peer-speed-limit=100M"
	defer p.serve(ctx, fmt.Sprintf("exec opentracker -i %s -p 6969 -P 6969 -d %s -u nobody -w allowed", p.head, p.dir))()
	defer p.serve(ctx, fmt.Sprintf("exec aria2c %s --check-integrity=true --dir=%s %s", common, p.dir, meta))()
	return p.until(ctx, "came", fmt.Sprintf("rm -rf /tmp/peer; exec aria2c %s --dir=/tmp/peer --on-bt-download-complete=%s %s", common, p.sayer(), meta))
}

// sayer is a program that says that a file has come.
func (p *spreadPeers) sayer() string {
	path := filepath.Join(p.dir, "came")
	os.WriteFile(path, []byte("#!/bin/sh\necho came\n"), 0o755)
	return path
}

// infoHash is how a tracker names a torrent.
func infoHash(meta string) (string, error) {
	out, err := exec.Command("aria2c", "-S", meta).Output()
	if err != nil {
		return "", fmt.Errorf("read %s: %w", meta, err)
	}
	_, rest, ok := strings.Cut(string(out), "Info Hash: ")
	if !ok || len(rest) < 40 {
		return "", fmt.Errorf("aria2c names no hash of %s", meta)
	}
	return rest[:40], nil
}
