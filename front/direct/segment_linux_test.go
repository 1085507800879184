package direct_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"bramble/front/direct"
	hostnet "bramble/host/net"
	"bramble/lab/labtest"
)

// segment is a switch with a front, members and a visitor, each in a namespace of its own.
type segment struct {
	*hostnet.Network
	t       *testing.T
	service netip.Addr // nobody's yet
	homes   string
}

func newSegment(t *testing.T, members int) *segment {
	t.Helper()
	if testing.Short() {
		t.Skip("short: this takes seconds; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("direct return needs root; CI is root")
	}
	names := []string{"front", "visitor"}
	for i := range members {
		names = append(names, fmt.Sprint("node", i+1))
	}
	lab := "d" + strings.ToLower(rand.Text()[:6])
	n, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab, Nodes: names})
	if err != nil {
		t.Fatal(err)
	}
	s := &segment{Network: n, t: t, service: n.Nodes[0].Addr.Prev(), homes: t.TempDir()}
	t.Cleanup(func() {
		if err := hostnet.Down(context.Background(), lab); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *segment) node(name string) hostnet.Node {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n
		}
	}
	s.t.Fatalf("there is no %s", name)
	return hostnet.Node{}
}

// on runs f on a thread that is on a node, and ends with it. Sockets that f opens stay there.
func (s *segment) on(name string, f func()) {
	s.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		ns, err := netns.GetFromName(s.node(name).Namespace)
		if err == nil {
			if err = netns.Set(ns); err == nil {
				f()
			}
			ns.Close()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		s.t.Error(err)
	}
}

// members are all nodes, without what is found out.
func (s *segment) spec() direct.Spec {
	spec := direct.Spec{Address: s.service, Ports: []uint16{80}, Interface: "eth0"}
	for _, n := range s.Nodes {
		if strings.HasPrefix(n.Name, "node") {
			spec.Members = append(spec.Members, direct.Member{Name: n.Name, Address: n.Addr})
		}
	}
	return spec
}

// serve has a node answer each line by its name and the visitor's address, at an address, zero for all.
func (s *segment) serve(name string, at netip.Addr) {
	s.t.Helper()
	var l net.Listener
	s.on(name, func() {
		var err error
		if l, err = net.Listen("tcp4", netip.AddrPortFrom(at, 80).String()); err != nil {
			s.t.Error(err)
		}
	})
	if l == nil {
		s.t.FailNow()
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(s.t.Context(), func() { conn.Close() })()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintln(conn, name, conn.RemoteAddr().(*net.TCPAddr).IP)
				}
			})
		}
	})
	s.t.Cleanup(func() { l.Close(); running.Wait() })
}

var all = netip.IPv4Unspecified()

// hold makes members of all nodes, by this process.
func (s *segment) hold() {
	s.t.Helper()
	for _, m := range s.spec().Members {
		var h *direct.Holding
		s.on(m.Name, func() {
			var err error
			if h, err = direct.Hold(s.service, filepath.Join(s.homes, m.Name+".json")); err != nil {
				s.t.Error(err)
			}
		})
		if h == nil {
			s.t.FailNow()
		}
		s.t.Cleanup(func() {
			s.on(m.Name, func() {
				if err := h.Close(); err != nil {
					s.t.Error(err)
				}
			})
		})
	}
}

// watched is a front, with what it has logged.
type watched struct {
	*direct.Watch
	said *words
}

// watch makes a front of the node of that name, by this process.
func (s *segment) watch() watched {
	s.t.Helper()
	said := &words{}
	w := &direct.Watch{Log: slog.New(slog.NewTextHandler(said, nil)), Every: 20 * time.Millisecond}
	w.Want(s.spec())
	ctx, stop := context.WithCancel(context.Background())
	ended, begun := make(chan bool), make(chan bool)
	go s.on("front", func() {
		defer close(ended)
		f, err := direct.Start(ctx, filepath.Join(s.homes, "front.json"), direct.Spec{Address: s.service, Ports: []uint16{80}, Interface: "eth0"})
		if err != nil {
			s.t.Error(err)
			close(begun)
			return
		}
		w.Front = f
		close(begun)
		if err := w.Run(ctx); err != nil {
			s.t.Error(err)
		}
		if err := f.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(func() { stop(); <-ended })
	if <-begun; w.Front == nil {
		s.t.FailNow()
	}
	return watched{w, said}
}

// visit is one connection of the visitor, with who answers it.
type visit struct {
	net.Conn
	r    *bufio.Reader
	node string
}

// visit opens a connection and asks once.
func (s *segment) visit() (visit, error) { return s.visitBy(&net.Dialer{Timeout: 3 * time.Second}) }

func (s *segment) visitBy(d *net.Dialer) (v visit, err error) {
	s.on("visitor", func() { v.Conn, err = d.Dial("tcp4", netip.AddrPortFrom(s.service, 80).String()) })
	if err != nil {
		return v, err
	}
	v.r = bufio.NewReader(v.Conn)
	if v.node, err = v.ask(10 * time.Second); err != nil {
		v.Close()
		return v, err
	}
	node, from, _ := strings.Cut(v.node, " ")
	if v.node = node; from != s.node("visitor").Addr.String() {
		s.t.Errorf("%s sees the visitor at %s", node, from)
	}
	return v, nil
}

func (v visit) ask(patience time.Duration) (string, error) {
	v.SetDeadline(time.Now().Add(patience))
	if _, err := v.Write([]byte("who\n")); err != nil {
		return "", err
	}
	line, err := v.r.ReadString('\n')
	return strings.TrimSpace(line), err
}

// visits opens connections and counts who answers them.
func (s *segment) visits(many int) (found map[string]int, open []visit, err error) {
	found = map[string]int{}
	for range many {
		v, err := s.visit()
		if err != nil {
			return found, open, err
		}
		found[v.node]++
		open = append(open, v)
		s.t.Cleanup(func() { v.Close() })
	}
	return found, open, nil
}

// until waits until new visitors are answered by as many members.
func (s *segment) until(what string, is func(found map[string]int) bool) {
	s.t.Helper()
	var last string
	labtest.Until(s.t, what, func() bool {
		found, open, err := s.visits(64)
		for _, v := range open {
			v.Close()
		}
		last = fmt.Sprint(found, err)
		return err == nil && is(found)
	}, func() string { return last })
}

// program starts bramble on a node, to be ended by the test, and waits until it says that it is at work.
func (s *segment) program(name string, args ...string) (*exec.Cmd, *words) {
	s.t.Helper()
	said := &words{}
	cmd := s.command(name, args...)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	labtest.Until(s.t, name+" to be at work", func() bool { return strings.Contains(said.String(), "Ctrl-C undoes it") }, said.String)
	return cmd, said
}

// words is what a program says.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (s *segment) command(name string, args ...string) *exec.Cmd {
	args = append([]string{"--net=/run/netns/" + s.node(name).Namespace, labtest.Binary(s.t)}, args...)
	cmd := exec.Command("nsenter", args...)
	cmd.Env = append(os.Environ(), "BRAMBLE_STATE="+filepath.Join(s.homes, name))
	return cmd
}

// state is all that direct return could have changed on a node.
func (s *segment) state(name string) string {
	s.t.Helper()
	out, err := exec.Command("nsenter", "--net=/run/netns/"+s.node(name).Namespace, "sh", "-c",
		"nft list ruleset; ip -4 addr; ip route; cd /proc/sys/net/ipv4/conf; grep . */arp_* */rp_filter").CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
