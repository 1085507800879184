package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bramble/front/direct"
	"bramble/front/visitor"
	hostnet "bramble/host/net"
)

const (
	directNodes  = 4
	directLink   = 100_000_000 // bits a second
	directTarget = 3.8         // times what one link carries
	directLoads  = 32          // downloads at a time
	directVisits = 128         // connections that stay open
	directBytes  = 64 << 20    // of the file that is loaded
	directVerb   = "direct-front"
)

// directLab is a front and nodes with a board's links, and visitors, on this machine, whose link is not shaped.
type directLab struct {
	*bench
	net      *hostnet.Network
	dir      string
	service  string
	children []*child
}

// direct measures direct server return beside proxies on the same front.
func (b *bench) direct(ctx context.Context, s *section) error {
	s.title = "Answers straight from nodes"
	s.how = fmt.Sprintf("A front and %d nodes in namespaces of their own, each with a link of 100 Mbit/s, on one switch with visitors whose link is not limited. Each node has Debian's nginx; %d visitors load files of %d MiB for %s. "+
		"With direct return requests go by the front and answers do not; a proxy on the same front carries both. Bits are those of the files alone.", directNodes, directLoads, directBytes>>20, seconds(b.outage/4))
	if lacking := missing("nginx", "haproxy", "nft", "nsenter"); len(lacking) > 0 {
		return fmt.Errorf("this needs %s; try: scripts/setup bench", strings.Join(lacking, ", "))
	}
	if os.Geteuid() != 0 {
		return errors.New("this needs root, for network namespaces")
	}
	l, err := b.raiseDirect(ctx)
	if err != nil {
		return err
	}
	defer l.down(ctx)
	one, _, err := l.load(ctx, l.address(1)+":80")
	if err != nil {
		return err
	}
	straight, broken, err := l.straight(ctx)
	if err != nil {
		return err
	}
	proxied, err := l.proxied(ctx)
	if err != nil {
		return err
	}
	mbit := func(rate float64) string { return fmt.Sprintf("%.1f Mbit/s", rate/1e6) }
	s.add(row{what: fmt.Sprintf("%d nodes, with direct return", directNodes), figure: mbit(straight) + brokenLoads(broken), peer: "one node's link: " + mbit(one), ratio: times(straight, one),
		target: fmt.Sprintf("≥ %.1f×", directTarget), verdict: judge(straight >= directTarget*one && broken == 0)})
	for _, p := range proxied {
		s.add(row{what: fmt.Sprintf("%d nodes, with direct return", directNodes), figure: mbit(straight), peer: p.name + " on the front: " + mbit(p.rate), ratio: times(straight, p.rate)})
		if p.broken > 0 {
			s.note("%d loads through %s broke off.", p.broken, p.name)
		}
	}
	broken, err = l.keep(ctx)
	if err != nil {
		return err
	}
	s.add(row{what: fmt.Sprintf("%d open connections while a node is drained and comes back", directVisits), figure: fmt.Sprintf("%d broken", broken), target: "0", verdict: judge(broken == 0)})
	return nil
}

// brokenLoads is what is to be said of them.
func brokenLoads(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d loads broke off", n)
}

// raiseDirect makes the network, with a web server and the service address on each node.
func (b *bench) raiseDirect(ctx context.Context) (*directLab, error) {
	b.say("direct: %d nodes with links of 100 Mbit/s", directNodes)
	l := &directLab{bench: b, dir: filepath.Join(b.dir, "direct")}
	names := []string{"front"}
	for i := range directNodes {
		names = append(names, fmt.Sprintf("node%d", i+1))
	}
	err := os.MkdirAll(l.dir, 0o755)
	if err == nil {
		l.net, err = hostnet.Up(ctx, hostnet.Spec{Lab: hostnet.ID(l.dir), Nodes: names, Rate: directLink})
	}
	if err != nil {
		return nil, err
	}
	l.service = l.net.Nodes[0].Addr.Prev().String()
	for i := range l.net.Nodes[1:] {
		if err == nil {
			err = l.furnish(ctx, i+1)
		}
	}
	if err != nil {
		l.down(ctx)
		return nil, err
	}
	return l, nil
}

func (l *directLab) address(i int) string { return l.net.Nodes[i].Addr.String() }

// program starts a program on a node.
func (l *directLab) program(i int, args ...string) (*child, error) {
	c, err := l.start([]string{"BRAMBLE_STATE=" + filepath.Join(l.dir, "state-"+l.net.Nodes[i].Name)}, "nsenter", append([]string{"--net=/run/netns/" + l.net.Nodes[i].Namespace}, args...)...)
	if err == nil {
		l.children = append(l.children, c)
	}
	return c, err
}

// furnish makes a node a member.
func (l *directLab) furnish(ctx context.Context, i int) error {
	dir := filepath.Join(l.dir, l.net.Nodes[i].Name)
	if err := os.MkdirAll(filepath.Join(dir, "pages"), 0o755); err != nil {
		return err
	}
	settings := fmt.Sprintf(nginxSettings, dir, "0.0.0.0:80", "on")
	err := errors.Join(os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(settings), 0o644),
		os.WriteFile(filepath.Join(dir, "pages", "name"), []byte(l.net.Nodes[i].Name), 0o644),
		os.WriteFile(filepath.Join(dir, "pages", "large"), nil, 0o644), os.Truncate(filepath.Join(dir, "pages", "large"), directBytes))
	if err != nil {
		return err
	}
	c, err := l.program(i, "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	if err != nil {
		return err
	}
	if err := answering(ctx, l.address(i)+":80"); err != nil {
		return fmt.Errorf("nginx: %w: %s", err, c.last())
	}
	_, err = l.program(i, l.exe, "front", "direct-member", "--address", l.service)
	return err
}

// down ends all of it, the last that was started first.
func (l *directLab) down(ctx context.Context) {
	for _, c := range slices.Backward(l.children) {
		c.stop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downPatience)
	defer cancel()
	hostnet.Down(ctx, hostnet.ID(l.dir))
}

// load is how many bits a second visitors get from an address, and how many of their loads broke off.
func (l *directLab) load(ctx context.Context, at string) (rate float64, broken int64, err error) {
	ctx, stop := context.WithCancel(ctx)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // each load has a connection of its own
	var got, failed atomic.Int64
	var running sync.WaitGroup
	for range directLoads {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := loadOnce(ctx, client, "http://"+at+"/large", &got); err != nil && ctx.Err() == nil {
					failed.Add(1)
					rest(ctx, 10*time.Millisecond)
				}
			}
		})
	}
	defer running.Wait()
	defer stop()
	if err := rest(ctx, l.outage/10); err != nil {
		return 0, 0, err
	}
	begun, before := time.Now(), got.Load()
	err = rest(ctx, l.outage/4)
	return float64(got.Load()-before) * 8 / time.Since(begun).Seconds(), failed.Load(), err
}

// loadOnce loads a file and counts its bytes as they come.
func loadOnce(ctx context.Context, client *http.Client, url string, got *atomic.Int64) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for buf := make([]byte, 64<<10); ; {
		n, err := res.Body.Read(buf)
		got.Add(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// straight loads by way of `bramble front direct`.
func (l *directLab) straight(ctx context.Context) (rate float64, broken int64, err error) {
	l.say("direct: through bramble front direct")
	args := []string{l.exe, "front", "direct", "--address", l.service}
	for i := range directNodes {
		args = append(args, "--member", l.address(i+1))
	}
	c, err := l.program(0, args...)
	if err != nil {
		return 0, 0, err
	}
	defer c.stop()
	if err := l.until(ctx, func(found map[string]int) bool { return len(found) == directNodes }); err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, c.last())
	}
	return l.load(ctx, l.service+":80")
}

// until waits until nodes answer new visitors as is says.
func (l *directLab) until(ctx context.Context, is func(map[string]int) bool) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for {
		found := map[string]int{}
		for range 64 {
			res, err := client.Get("http://" + l.service + "/name")
			if err != nil {
				found = nil
				break
			}
			name, err := io.ReadAll(res.Body)
			if res.Body.Close(); err == nil {
				found[string(name)]++
			}
		}
		if found != nil && is(found) {
			return nil
		}
		if err := rest(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%w: visitors were answered by %v", err, found)
		}
	}
}

// proxyRate is what a proxy did.
type proxyRate struct {
	name   string
	rate   float64
	broken int64
}

// proxied is what proxies on the front do.
func (l *directLab) proxied(ctx context.Context) (all []proxyRate, err error) {
	var backends []string
	for i := range directNodes {
		backends = append(backends, l.address(i+1)+":80")
	}
	at := l.address(0) + ":80"
	file := filepath.Join(l.dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(haproxy(l.dir, at, backends)), 0o644); err != nil {
		return nil, err
	}
	own := []string{l.exe, "front", "serve", "--listen", at, "--client-connections", "0"}
	for _, b := range backends {
		own = append(own, "--backend", "http://"+b)
	}
	for _, x := range []struct {
		name string
		args []string
	}{{"HAProxy", []string{"haproxy", "-f", file}}, {"bramble front serve", own}} {
		l.say("direct: through %s", x.name)
		c, err := l.program(0, x.args...)
		if err != nil {
			return nil, err
		}
		if err = answering(ctx, at); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", x.name, err, c.last())
		}
		rate, broken, err := l.load(ctx, at)
		if c.stop(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", x.name, err, c.tail(40))
		}
		all = append(all, proxyRate{x.name, rate, broken})
	}
	return all, nil
}

// keep has visitors keep connections while a node is drained and comes back, and counts what breaks.
func (l *directLab) keep(ctx context.Context) (broken int64, err error) {
	l.say("direct: %d connections while a node is drained", directVisits)
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := []string{exe, directVerb, filepath.Join(l.dir, "front.json"), l.service}
	for _, n := range l.net.Nodes[1:] {
		args = append(args, n.Addr.String())
	}
	c, err := l.program(0, args...)
	if err != nil {
		return 0, err
	}
	defer c.stop()
	all := func(found map[string]int) bool { return len(found) == directNodes }
	if err := l.until(ctx, all); err != nil {
		return 0, fmt.Errorf("%w: %s", err, c.last())
	}
	v := &visitor.Crowd{At: l.service + ":80", Path: "/name", Many: directVisits, Pause: 50 * time.Millisecond}
	v.Begin(ctx)
	defer v.End()
	for _, is := range []func(map[string]int) bool{func(found map[string]int) bool { return found["node1"] == 0 }, all} {
		for before := v.Answers(); v.Answers() < before+10*directVisits; {
			if err := rest(ctx, 10*time.Millisecond); err != nil {
				return 0, err
			}
		}
		if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return 0, err
		}
		if err := l.until(ctx, is); err != nil {
			return 0, fmt.Errorf("%w: %s", err, c.last())
		}
	}
	v.End()
	return v.Failed(), ctx.Err()
}

// directFront is a front whose first member is drained by SIGHUP, and by the next one is not.
func directFront(ctx context.Context, file, service string, members []string) error {
	spec := direct.Spec{Address: netip.MustParseAddr(service), Ports: []uint16{80}}
	for _, m := range members {
		spec.Members = append(spec.Members, direct.Member{Name: m, Address: netip.MustParseAddr(m)})
	}
	var err error
	if spec.Interface, err = direct.LinkFor(spec.Address); err != nil {
		return err
	}
	begin := spec
	begin.Members = nil
	f, err := direct.Start(ctx, file, begin)
	if err != nil {
		return err
	}
	w := &direct.Watch{Front: f, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	w.Want(spec)
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-again:
				spec.Members = slices.Clone(spec.Members)
				spec.Members[0].Draining = !spec.Members[0].Draining
				w.Want(spec)
			case <-ctx.Done():
			}
		}
	})
	err = w.Run(ctx)
	running.Wait()
	return errors.Join(err, f.Close())
}
