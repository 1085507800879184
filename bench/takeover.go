package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bramble/front/visitor"
	hostnet "bramble/host/net"
)

const (
	takeoverLimit = 2 * time.Second
	takeoverAsks  = 20 * time.Millisecond // between two visitors
	takeoverRow   = 50                    // answers that show that all is well
	takeoverRuns  = 3
)

// sharing is a program that gives an address to one of two machines.
type sharing struct {
	name  string
	start func(b *bench, p *pair, node string) error
}

// pair is two machines on a switch that share an address, before a web server on this one.
type pair struct {
	*hostnet.Network
	dir     string
	shared  netip.Addr
	backend string
	all     []*child
}

// takeover measures how long visitors are not served when the front that has a shared address is gone.
func (b *bench) takeover(ctx context.Context, s *section) error {
	s.title = "A front dies, and another one has its address"
	s.how = fmt.Sprintf("Two machines in namespaces of their own on a switch, each with a front, share an address; a visitor asks every %s by a new connection. All programs of the machine that has the address are killed, or its cable is pulled; "+
		"what counts is how long no request was begun that was answered, the middle and the worst of %d. keepalived is Debian's, before the same fronts: at its default of an advertisement a second, and at ten a second.", takeoverAsks, b.takeovers())
	if lacking := missing("ip", "keepalived"); len(lacking) > 0 {
		return fmt.Errorf("this needs %s; try: scripts/setup bench", strings.Join(lacking, ", "))
	}
	if os.Geteuid() != 0 {
		return errors.New("this needs root, for network namespaces")
	}
	lab := "take" + fmt.Sprint(os.Getpid()%10000)
	network, err := hostnet.Up(ctx, hostnet.Spec{Lab: lab, Nodes: []string{"a", "b"}})
	if err != nil {
		return err
	}
	defer hostnet.Down(context.WithoutCancel(ctx), lab)
	listener, err := net.Listen("tcp", netip.AddrPortFrom(network.Host, 0).String())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })}
	go server.Serve(listener)
	defer server.Close()
	base := network.Subnet.Addr().As4()
	p := &pair{Network: network, dir: filepath.Join(b.dir, "takeover"), backend: "http://" + listener.Addr().String(),
		shared: netip.AddrFrom4([4]byte{base[0], base[1], base[2] + 1, 200})}
	for _, x := range []sharing{{"bramble", startSharing}, {"keepalived", startKeepalived("")}, {"keepalived at its best", startKeepalived("\tadvert_int 0.1\n")}} {
		for _, fault := range []string{"killed", "cable pulled"} {
			b.say("takeover: %s, %s", x.name, fault)
			var gaps []time.Duration
			for range b.takeovers() {
				gap, err := b.takeOver(ctx, p, x, fault)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", x.name, fault, err)
				}
				gaps = append(gaps, gap)
			}
			slices.Sort(gaps)
			worst := gaps[len(gaps)-1]
			r := row{what: x.name + ", " + fault, figure: fmt.Sprintf("%s, at worst %s", brief(gaps[len(gaps)/2]), brief(worst))}
			if x.name == "bramble" {
				r.target, r.verdict = "≤ "+brief(takeoverLimit), judge(worst <= takeoverLimit)
			}
			s.add(r)
		}
	}
	return nil
}

func (b *bench) takeovers() int { return min(b.runs, takeoverRuns) }

// takeOver starts two fronts, takes away the one that has the address, and returns how long visitors were not served.
func (b *bench) takeOver(ctx context.Context, p *pair, x sharing, fault string) (time.Duration, error) {
	defer p.clear(ctx)
	for _, n := range p.Nodes {
		if err := x.start(b, p, n.Name); err != nil {
			return 0, err
		}
	}
	v := &visitor.Passers{URL: "http://" + p.shared.String() + "/", Every: takeoverAsks}
	v.Begin(ctx)
	defer v.End()
	if err := served(ctx, v); err != nil {
		return 0, fmt.Errorf("%w: %s", err, p.all[0].last())
	}
	has := p.holder()
	v.Outage()
	var err error
	if fault == "killed" {
		_, err = p.Signal(ctx, has, syscall.SIGKILL)
	} else {
		err = p.SetUp(has, false)
	}
	if err != nil {
		return 0, err
	}
	select { // until it is noticed
	case <-ctx.Done():
	case <-time.After(4 * takeoverAsks):
	}
	if err := served(ctx, v); err != nil {
		return 0, err
	}
	gap, _ := v.Outage()
	return gap, p.SetUp(has, true)
}

// served waits until many visitors in a row are served.
func served(ctx context.Context, v *visitor.Passers) error {
	for v.Row() < takeoverRow {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(takeoverAsks):
		}
	}
	return nil
}

// holder is the node that has the shared address.
func (p *pair) holder() string {
	for _, n := range p.Nodes {
		out, _ := exec.Command("ip", "-n", n.Namespace, "-4", "-o", "addr", "show").Output()
		if strings.Contains(string(out), " "+p.shared.String()+"/") {
			return n.Name
		}
	}
	return p.Nodes[0].Name
}

// clear ends all programs and takes away what they left.
func (p *pair) clear(ctx context.Context) {
	for _, n := range p.Nodes {
		p.Signal(context.WithoutCancel(ctx), n.Name, syscall.SIGKILL)
		p.SetUp(n.Name, true)
		exec.Command("ip", "-n", n.Namespace, "addr", "del", p.shared.String()+"/32", "dev", "eth0").Run()
	}
	for _, c := range p.all {
		c.stop()
	}
	p.all = nil
}

// start starts a program on a node.
func (p *pair) start(b *bench, node string, args ...string) error {
	entry, err := p.Entry(node, filepath.Join(p.dir, node))
	if err != nil {
		return err
	}
	entry.Keep = []string{b.dir}
	argv := entry.Argv(b.exe, args...)
	c, err := b.start(nil, argv[0], argv[1:]...)
	if err == nil {
		p.all = append(p.all, c)
	}
	return err
}

func startSharing(b *bench, p *pair, node string) error {
	return p.start(b, node, b.exe, "front", "serve", "--listen", ":80", "--client-connections", "0", "--backend", p.backend, "--address", p.shared.String())
}

// startKeepalived starts it with more settings, and a front that knows nothing of it.
func startKeepalived(more string) func(*bench, *pair, string) error {
	return func(b *bench, p *pair, node string) error {
		if err := p.start(b, node, b.exe, "front", "serve", "--listen", ":80", "--client-connections", "0", "--backend", p.backend); err != nil {
			return err
		}
		file := func(name string) string { return filepath.Join(p.dir, node, name) }
		settings := fmt.Sprintf("global_defs {\n\tvrrp_version 3\n}\nvrrp_instance a {\n\tinterface eth0\n\tvirtual_router_id 51\n\tpriority 100\n%s\tvirtual_ipaddress {\n\t\t%s/32\n\t}\n}\n", more, p.shared)
		if err := os.WriteFile(file("settings"), []byte(settings), 0o644); err != nil {
			return err
		}
		for _, old := range []string{"pid", "vrrp"} { // of one that was killed
			os.Remove(file(old))
		}
		return p.start(b, node, "keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", file("settings"), "--pid", file("pid"), "--vrrp_pid", file("vrrp"))
	}
}
