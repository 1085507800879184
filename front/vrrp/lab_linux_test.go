package vrrp_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"bramble/front/visitor"
	"bramble/host/ether"
	hostnet "bramble/host/net"
	"bramble/lab/labtest"
)

// neighbourhood is a switch with machines on it, and a visitor: this machine, which also has the web server behind the fronts.
type neighbourhood struct {
	*testing.T
	*hostnet.Network
	dir     string
	shared  netip.Addr
	backend string
	args    []string            // of each front
	running map[string]*process // by node
}

// process is a program on a node.
type process struct {
	*exec.Cmd
	log   string
	ended chan struct{}
}

func newNeighbourhood(t *testing.T, nodes ...string) *neighbourhood {
	t.Helper()
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root; CI is root")
	}
	lab := "v" + strings.ToLower(rand.Text()[:6])
	t.Cleanup(func() {
		if err := hostnet.Down(context.WithoutCancel(t.Context()), lab); err != nil {
			t.Error(err)
		}
	})
	network, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	l := &neighbourhood{T: t, Network: network, dir: t.TempDir(), running: map[string]*process{}}
	base := network.Subnet.Addr().As4()
	l.shared = netip.AddrFrom4([4]byte{base[0], base[1], base[2] + 1, 200})
	listener, err := net.Listen("tcp", netip.AddrPortFrom(network.Host, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	l.backend = "http://" + listener.Addr().String()
	return l
}

// start starts a program on a node.
func (l *neighbourhood) start(node string, args ...string) *process {
	l.Helper()
	entry, err := l.Entry(node, filepath.Join(l.dir, "home", node))
	if err != nil {
		l.Fatal(err)
	}
	entry.Keep = []string{l.dir}
	argv := entry.Argv(labtest.Binary(l.T), args...)
	p := &process{Cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(l.dir, node+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		l.Fatal(err)
	}
	defer log.Close()
	p.Stderr, p.Stdout = log, log
	if err := p.Start(); err != nil {
		l.Fatal(err)
	}
	go func() {
		p.Wait()
		close(p.ended)
	}()
	l.Cleanup(func() {
		p.Process.Kill()
		<-p.ended
		if text, _ := os.ReadFile(p.log); l.Failed() {
			l.Logf("log of %s:\n%s", node, text)
		}
	})
	l.running[node] = p
	return p
}

// front starts a front; every second one listens at the shared address, whether the node has it or not.
func (l *neighbourhood) front(node, more string) {
	l.Helper()
	at := ":80"
	if node == "b" {
		at = l.shared.String() + ":80"
	}
	args := append([]string{labtest.Binary(l.T), "front", "serve", "--listen", at, "--address", l.shared.String() + "/20" + more, "--backend", l.backend}, l.args...)
	l.start(node, args...)
}

// handle speaks to the kernel in a namespace.
func (l *neighbourhood) handle(namespace string) *netlink.Handle {
	l.Helper()
	ns, err := netns.GetFromName(namespace)
	if err != nil {
		l.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		l.Fatal(err)
	}
	return h
}

// holders are the nodes that have the shared address now.
func (l *neighbourhood) holders() string {
	l.Helper()
	var names []string
	for _, n := range l.Nodes {
		h := l.handle(n.Namespace)
		all, err := h.AddrList(nil, netlink.FAMILY_V4)
		h.Close()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			l.Fatal(err)
		}
		if slices.ContainsFunc(all, func(a netlink.Addr) bool { return a.IP.String() == l.shared.String() }) {
			names = append(names, n.Name)
		}
	}
	return strings.Join(names, "")
}

// settle waits until the nodes alone have the address.
func (l *neighbourhood) settle(names string) {
	l.Helper()
	var got string
	labtest.Until(l.T, fmt.Sprintf("%q to have it", names), func() bool { got = l.holders(); return got == names }, func() string { return fmt.Sprintf("%q has it", got) })
}

// says waits until a front has said something so often.
func (l *neighbourhood) says(node, what string, times int) {
	l.Helper()
	labtest.Until(l.T, node+" to say: "+what, func() bool {
		text, _ := os.ReadFile(l.running[node].log)
		return strings.Count(string(text), what) >= times
	})
}

// isolate unplugs a node's cable from the switch at a place where the node does not see it, or plugs it in again.
func (l *neighbourhood) isolate(node string, isolated bool) {
	l.Helper()
	at := slices.IndexFunc(l.Nodes, func(n hostnet.Node) bool { return n.Name == node })
	h := l.handle(strings.TrimSuffix(l.Nodes[at].Namespace, "-"+node))
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		l.Fatal(err)
	}
	for _, port := range links {
		if !strings.HasPrefix(port.Attrs().Alias, node+" ") {
			continue
		}
		if isolated {
			err = h.LinkSetNoMaster(port)
		} else {
			bridge := links[slices.IndexFunc(links, func(l netlink.Link) bool { return l.Type() == "bridge" })]
			err = h.LinkSetMaster(port, bridge)
		}
		if err != nil {
			l.Fatal(err)
		}
	}
}

// signal sends a signal to what runs on a node.
func (l *neighbourhood) signal(node string, sig syscall.Signal) {
	l.Helper()
	if err := l.running[node].Process.Signal(sig); err != nil {
		l.Fatal(err)
	}
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		select {
		case <-l.running[node].ended:
		case <-time.After(labtest.Patience):
			l.Fatalf("%s does not end", node)
		}
	}
}

// claims is closed when somebody says by ARP that he has the shared address.
func (l *neighbourhood) claims() <-chan struct{} {
	l.Helper()
	ports, err := ether.Ports()
	if err != nil {
		l.Fatal(err)
	}
	port, own, err := ether.Choose(ports, l.shared, "")
	if err != nil {
		l.Fatal(err)
	}
	s, err := ether.Open(port, own, 253, netip.MustParseAddr("224.0.0.18"))
	if err != nil {
		l.Fatal(err)
	}
	claimed, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if c, err := s.HearClaim(); err != nil {
				return
			} else if c.Addr == l.shared {
				close(claimed)
				return
			}
		}
	}()
	l.Cleanup(func() { s.Close(); <-ended })
	return claimed
}

// visit lets visitors come, fifty a second.
func (l *neighbourhood) visit() *visitor.Passers {
	v := &visitor.Passers{URL: "http://" + l.shared.String() + "/", Every: 20 * time.Millisecond}
	v.Begin(l.Context())
	l.Cleanup(v.End)
	return v
}

// served waits until visitors are served without a failure, and returns how long they were not since the last call.
func (l *neighbourhood) served(v *visitor.Passers) time.Duration {
	l.Helper()
	gap, _ := v.Outage()
	labtest.Until(l.T, "visitors to be served", func() bool { return v.Row() >= 50 })
	more, _ := v.Outage()
	return max(gap, more)
}
