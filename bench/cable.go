package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bramble/fleet"
	"bramble/front/visitor"
	"bramble/lab"
	"bramble/site"
)

const (
	cableNodes    = 4
	cableVisitors = 32
	cableWorst    = 1500 * time.Millisecond
)

// cable measures what visitors notice when a node's cable is pulled, through bramble and through its peers.
func (b *bench) cable(ctx context.Context, s *section) error {
	s.title = "A node's cable is pulled under load"
	s.how = fmt.Sprintf("A site on %d nodes in namespaces of their own, and on this machine a balancer before them; %d visitors ask again and again over kept connections. One node's cable is out for %s; "+
		"what counts is answers that failed, and the longest that one took. Peers are Debian's, at their defaults but for kept connections, and with checks and times as short as bramble's own where they have them.", cableNodes, cableVisitors, b.outage)
	if lacking := missing("nginx", "haproxy", "apache2"); len(lacking) > 0 {
		return fmt.Errorf("this needs %s; try: scripts/setup bench", strings.Join(lacking, ", "))
	}
	r, at, err := b.raiseSite(ctx, "cable", cableNodes)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	for _, x := range cableBalancers() {
		b.say("cable: through %s", x.name)
		failed, worst, err := b.pull(ctx, r, x, at)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		row := row{what: x.name, figure: fmt.Sprintf("%d failed, the longest took %s", failed, brief(worst))}
		if x.name == "bramble" {
			row.target, row.verdict = fmt.Sprintf("0 failed, ≤ %s", cableWorst), judge(failed == 0 && worst <= cableWorst)
		}
		s.add(row)
	}
	return nil
}

// cableBalancers are bramble, its peers at their defaults, and those at their best.
func cableBalancers() []*balancer {
	named := func(name string, start func(*bench, context.Context, *web, string, []string) error) *balancer {
		return &balancer{&web{name: name}, start}
	}
	with := func(settings func(string, string, []string) string, edits ...string) func(string, string, []string) string {
		return func(dir, addr string, backends []string) string {
			return strings.NewReplacer(edits...).Replace(settings(dir, addr, backends))
		}
	}
	nginx := []string{"-p", "DIR", "-c", "FILE", "-e", "DIR/error.log"}
	return []*balancer{
		named("bramble", startFront),
		named("nginx", startProxy(nginxProxy, "nginx", nginx...)),
		named("nginx at its best", startProxy(with(nginxProxy, "proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_connect_timeout 1s; proxy_read_timeout 1s; proxy_send_timeout 1s;",
			"; keepalive 64", " max_fails=1 fail_timeout=10s; keepalive 64"), "nginx", nginx...)),
		named("haproxy", startProxy(haproxy, "haproxy", "-f", "FILE")),
		named("haproxy at its best", startProxy(with(haproxy, " check\n", " check inter 250ms fall 1 rise 2 on-marked-down shutdown-sessions\n",
			"timeout connect 2s", "timeout connect 750ms\n\ttimeout check 750ms\n\toption redispatch 1\n\tretry-on all-retryable-errors", "timeout server 60s", "timeout server 1s"), "haproxy", "-f", "FILE")),
		named("apache2", startProxy(apacheProxy, "apache2", "-f", "FILE", "-DFOREGROUND")),
		named("apache2 at its best", startProxy(with(apacheProxy, "</Proxy>", "ProxySet timeout=1 maxattempts=3\n</Proxy>", "\nProxyPass ", "\nProxyTimeout 1\nProxyPass "), "apache2", "-f", "FILE", "-DFOREGROUND")),
	}
}

// raiseSite makes a lab in namespaces whose nodes serve a site, and says where.
func (b *bench) raiseSite(ctx context.Context, name string, nodes int) (*rack, []string, error) {
	if os.Geteuid() != 0 {
		return nil, nil, errors.New("this needs root, for network namespaces")
	}
	dir := filepath.Join(b.dir, name+"-site")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	if err := writePages(dir); err != nil {
		return nil, nil, err
	}
	r, err := b.raiseAs(ctx, name, lab.Options{Nodes: nodes})
	if err != nil {
		return nil, nil, err
	}
	at, err := r.serve(ctx, dir)
	if err != nil {
		r.down(ctx)
		return nil, nil, err
	}
	return r, at, nil
}

// serve publishes a folder on all nodes, and returns where they serve it.
func (r *rack) serve(ctx context.Context, dir string) ([]string, error) {
	for ev, err := range r.cluster.Sites().Publish(ctx, site.Publish{Spec: site.Spec{Name: "bench", On: fleet.Fold(r.names()), Quorum: 100, Listen: ":8080"}}, site.Source(dir)) {
		if err == nil && ev.Kind == site.Failed {
			err = fmt.Errorf("%s: %s", ev.Node, ev.Error)
		}
		if err != nil {
			return nil, err
		}
	}
	var at []string
	for _, n := range r.nodes {
		at = append(at, net.JoinHostPort(n.Address, "8080"))
	}
	return at, nil
}

// pull starts a balancer and visitors, pulls a cable and puts it back.
func (b *bench) pull(ctx context.Context, r *rack, x *balancer, at []string) (failed int64, worst time.Duration, err error) {
	dir := filepath.Join(b.dir, "cable-"+strings.ReplaceAll(x.name, " ", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, 0, err
	}
	if x.addr, err = freeAddress(); err != nil {
		return 0, 0, err
	}
	if err := x.start(b, ctx, x.web, dir, at); err != nil {
		return 0, 0, err
	}
	defer x.child.stop()
	if err := answering(ctx, x.addr); err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, x.child.last())
	}
	// They pause, so that answers take as long as they take, and not as long as this machine is busy.
	v := &visitor.Crowd{At: x.addr, Path: "/" + pages[0].name, Many: cableVisitors, Pause: 2 * time.Millisecond}
	v.Begin(ctx)
	defer v.End()
	pause := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	pause(b.outage / 10)
	if err := r.Cut(ctx, r.nodes[0].Name); err != nil {
		return 0, 0, err
	}
	pause(b.outage)
	if err := r.revive(ctx, r.nodes[0].Name); err != nil {
		return 0, 0, err
	}
	pause(b.outage / 10)
	v.End()
	return v.Failed(), v.Worst(), ctx.Err()
}
