package direct_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bramble/front/direct"
	"bramble/lab/labtest"
)

// Slots move, and connections stay where they are; only those of a machine that is gone end.
func TestOpenConnectionsStay(t *testing.T) {
	s := newSegment(t, 4)
	for _, m := range s.spec().Members {
		s.serve(m.Name, all)
	}
	s.hold()
	w := s.watch()
	everybody := func(found map[string]int) bool { return len(found) == 4 }
	s.until("all members to be asked", everybody)
	found, open, err := s.visits(128)
	if err != nil || len(found) != 4 {
		t.Fatalf("128 visits: %v, %v", found, err)
	}
	whole := func(when string) {
		t.Helper()
		broken := 0
		for _, v := range open {
			if who, err := v.ask(10 * time.Second); err != nil || !strings.HasPrefix(who, v.node+" ") {
				broken++
				t.Logf("%s, a connection with %s was answered by %q, %v", when, v.node, who, err)
			}
		}
		if broken > 0 {
			t.Errorf("%s, %d of %d connections were broken", when, broken, len(open))
		}
	}
	spec := s.spec()
	spec.Members[0].Draining = true
	w.Want(spec)
	s.until("node1 to get nobody", func(found map[string]int) bool { return found["node1"] == 0 })
	whole("drained")
	w.Want(s.spec())
	s.until("node1 to be back", everybody)
	whole("back")
	counts := s.counts(w)
	flows := 0
	for _, c := range counts {
		if flows += c.Flows; c.Packets < uint64(found[c.Name]) || c.Bytes < 40*c.Packets {
			t.Errorf("%+v, and it has %d connections", c, found[c.Name])
		}
	}
	if flows < 128 {
		t.Errorf("%d flows are known: %v", flows, counts)
	}

	if err := s.SetUp("node2", false); err != nil {
		t.Fatal(err)
	}
	s.until("node2 to get nobody", func(found map[string]int) bool { return found["node2"] == 0 })
	var kept []visit
	for _, v := range open {
		if v.node != "node2" {
			kept = append(kept, v)
		} else if _, err := v.ask(10 * time.Second); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection with a member that is gone: %v", err)
		}
	}
	again, err := s.visitFrom(open, kept)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	open = append(kept, again)
	whole("without node2")
	if err := s.SetUp("node2", true); err != nil {
		t.Fatal(err)
	}
	s.until("node2 to be back", everybody)
	whole("with node2 again")

	if err := errors.Join(s.SetUp("front", false), s.SetUp("visitor", false)); err != nil {
		t.Fatal(err)
	}
	labtest.Until(t, "the front to notice that its cable is out", func() bool { return strings.Contains(w.said.String(), "its cable is out") })
	if err := errors.Join(s.SetUp("front", true), s.SetUp("visitor", true)); err != nil {
		t.Fatal(err)
	}
	whole("with the front's cable in again")

	for _, m := range s.spec().Members {
		if err := s.SetUp(m.Name, false); err != nil {
			t.Fatal(err)
		}
	}
	labtest.Until(t, "visitors to be refused", func() bool {
		_, err := s.visit()
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// visitFrom visits from the port of a connection that is among those before and not among those kept.
func (s *segment) visitFrom(before, kept []visit) (visit, error) {
	for _, v := range before {
		if !slices.Contains(kept, v) {
			v.Close()
			return s.visitBy(&net.Dialer{LocalAddr: v.LocalAddr()})
		}
	}
	return visit{}, errors.New("none ended")
}

func (s *segment) counts(w watched) (all []direct.Count) {
	s.on("front", func() {
		var err error
		if all, err = w.Front.Counts(s.t.Context()); err != nil {
			s.t.Error(err)
		}
	})
	return all
}

// Both halves are killed: visitors notice nothing, who starts again takes over, and all can be undone.
func TestUndoAfterCrash(t *testing.T) {
	s := newSegment(t, 2)
	parts := []string{"front", "node1"}
	before := map[string]string{}
	for _, name := range parts {
		before[name] = s.state(name)
	}
	unchanged := func(when string) {
		t.Helper()
		for _, name := range parts {
			if now := s.state(name); now != before[name] {
				t.Errorf("%s, %s was\n%s\nand is\n%s", when, name, before[name], now)
			}
			if left, _ := filepath.Glob(filepath.Join(s.homes, name, "*")); len(left) > 0 {
				t.Errorf("%s, %s has %v", when, name, left)
			}
		}
	}
	s.serve("node1", all)
	var front *exec.Cmd
	var said2 *words
	start := func() (kill func(syscall.Signal)) {
		t.Helper()
		member, said1 := s.program("node1", "front", "direct-member", "--address", s.service.String())
		front, said2 = s.program("front", "front", "direct", "--address", s.service.String()+"/20", "--member", s.node("node1").Addr.String(), "--member", s.node("node2").Addr.String())
		return func(sig syscall.Signal) {
			t.Helper()
			for _, p := range []*os.Process{front.Process, member.Process} {
				p.Signal(sig)
			}
			front.Wait()
			member.Wait()
			if sig == syscall.SIGINT && (!front.ProcessState.Success() || !member.ProcessState.Success()) {
				t.Errorf("front: %v: %s\nmember: %v: %s", front.ProcessState, said2, member.ProcessState, said1)
			}
		}
	}
	node1 := func(found map[string]int) bool { return found["node1"] == 64 }
	kill := start()
	s.until("visitors to be answered", node1)
	kill(syscall.SIGKILL)
	v, err := s.visit()
	if err != nil {
		t.Fatalf("with both halves killed: %v", err)
	}
	defer v.Close()
	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			if _, err := v.ask(10 * time.Second); err != nil {
				t.Errorf("a connection from before, while another process takes over: %v", err)
				return
			}
		}
	})
	kill = start()
	labtest.Until(t, "the front to find its member", func() bool { return strings.Contains(said2.String(), "a member is back") })
	s.until("visitors to be answered", node1)
	stop()
	asking.Wait()
	if _, port, _ := net.SplitHostPort(v.LocalAddr().String()); !strings.Contains(s.state("front"), " . "+port+" . 80 ") {
		t.Errorf("the connection by port %s is not known any more: %s", port, s.state("front"))
	}
	kill(syscall.SIGINT)
	unchanged("ended")

	kill = start()
	s.until("visitors to be answered", node1)
	if out, err := s.command("front", "front", "doctor", "--undo").CombinedOutput(); err == nil || !strings.Contains(string(out), "at work on this machine already") {
		t.Errorf("undo of what is at work: %v, %s", err, out)
	}
	kill(syscall.SIGKILL)
	for _, name := range parts {
		if out, err := s.command(name, "front", "doctor", "--undo").CombinedOutput(); err != nil || !strings.Contains(string(out), "undone: ") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
		if out, err := s.command(name, "front", "doctor", "--undo").CombinedOutput(); err != nil || !strings.Contains(string(out), "nothing is left") {
			t.Errorf("%s, again: %v, %s", name, err, out)
		}
	}
	unchanged("undone")

	// Another address than before: the old one is undone at the start.
	kill = start()
	s.until("visitors to be answered", node1)
	kill(syscall.SIGKILL)
	old := s.service
	s.service = s.service.Prev()
	kill = start()
	s.until("visitors to be answered at another address", node1)
	for _, name := range parts {
		if strings.Contains(s.state(name), old.String()) {
			t.Errorf("%s still has %s", name, old)
		}
	}
	kill(syscall.SIGINT)
	unchanged("ended at last")
}

// The kernel says that packets are too large for some way: whoever has the connection hears of it, for the front does not.
func TestPathMTU(t *testing.T) {
	s := newSegment(t, 2)
	for _, m := range s.spec().Members {
		s.serve(m.Name, all)
	}
	s.hold()
	s.watch()
	s.until("all members to be asked", func(found map[string]int) bool { return len(found) == 2 })
	v, err := s.visit()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	s.on("visitor", func() {
		if err := tooLarge(s.service, v.LocalAddr().(*net.TCPAddr).AddrPort(), 1000); err != nil {
			t.Error(err)
		}
	})
	labtest.Until(t, v.node+" to hear of it", func() bool { return s.outOfWindow(v.node) > 0 })
}

// outOfWindow counts such messages that were about a connection, but about nothing that it has sent: the test cannot know what
// that was. It is a line of names and one of values, of proc_net_netstat(5).
func (s *segment) outOfWindow(name string) int {
	out, err := exec.Command("nsenter", "--net=/run/netns/"+s.node(name).Namespace, "cat", "/proc/net/netstat").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	at := slices.Index(strings.Fields(lines[0]), "OutOfWindowIcmps")
	n, err := strconv.Atoi(strings.Fields(lines[1])[at])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// tooLarge sends an ICMP message of RFC 1191 about a packet from the service to a visitor.
func tooLarge(service netip.Addr, visitor netip.AddrPort, mtu uint16) error {
	conn, err := net.Dial("ip4:icmp", service.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	from, to := service.As4(), visitor.Addr().As4()
	b := append([]byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, 0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0)
	b = append(append(append(b, from[:]...), to[:]...), 0, 80, byte(visitor.Port()>>8), byte(visitor.Port()), 0, 0, 0, 0)
	sum := 0
	for i := 0; i < len(b); i += 2 {
		sum += int(b[i])<<8 | int(b[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = ^(sum&0xffff + sum>>16)
	b[2], b[3] = byte(sum>>8), byte(sum)
	_, err = conn.Write(b)
	return err
}

// A front that is on the network twice, as by cable and Wi-Fi, gets all visitors by the one interface.
func TestFrontWithAnotherInterface(t *testing.T) {
	s := newSegment(t, 2)
	front, hub := s.node("front").Namespace, "brm-"+s.Lab
	for _, words := range []string{
		front + " ip link add second type veth peer name another netns " + hub,
		hub + " ip link set another master br0 up", // the last one in is asked first
		front + " ip addr add " + s.service.Prev().String() + "/20 dev second",
		front + " ip link set second up",
	} {
		args := strings.Fields("--net=/run/netns/" + words)
		if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", words, err, out)
		}
	}
	for _, m := range s.spec().Members {
		s.serve(m.Name, all)
	}
	s.hold()
	s.watch()
	s.until("all members to be asked", func(found map[string]int) bool { return len(found) == 2 })
	for range 5 {
		if out, err := exec.Command("nsenter", "--net=/run/netns/"+s.node("visitor").Namespace, "ip", "neigh", "del", s.service.String(), "dev", "eth0").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		v, err := s.visit()
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
	}
}

// A table of our name that is of another form, as of another release, is replaced; one that nobody wrote down is undone.
func TestAnotherFormOfTheTable(t *testing.T) {
	s := newSegment(t, 1)
	before := s.state("front")
	other := func() {
		t.Helper()
		cmd := exec.Command("nsenter", "--net=/run/netns/"+s.node("front").Namespace, "nft", "add table netdev bramble_direct; add set netdev bramble_direct members { type ipv4_addr; }")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	other()
	s.serve("node1", all)
	s.hold()
	front, _ := s.program("front", "front", "direct", "--address", s.service.String(), "--member", s.node("node1").Addr.String())
	s.until("the member to be asked", func(found map[string]int) bool { return found["node1"] == 64 })
	front.Process.Signal(syscall.SIGINT)
	front.Wait()
	other()
	if out, err := s.command("front", "front", "doctor", "--undo").CombinedOutput(); err != nil || !strings.Contains(string(out), "undone: the front") {
		t.Errorf("%v, %s", err, out)
	}
	if now := s.state("front"); now != before {
		t.Errorf("it was\n%s\nand is\n%s", before, now)
	}
}
