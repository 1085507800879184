package hostnet_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bramble/fault"
	hostnet "bramble/host/net"
)

func TestNodesReachEachOtherAndTheMachine(t *testing.T) {
	n := up(t, 0, "head", "node01")
	a, b := n.Nodes[0], n.Nodes[1]
	exchange(t)(connect(t, b.Addr, there(t, b), there(t, a)))
	exchange(t)(connect(t, a.Addr, there(t, a), here))
	exchange(t)(connect(t, n.Host, here, there(t, a)))
	exchange(t)(connect(t, netip.MustParseAddr("127.0.0.1"), there(t, a), there(t, a)))
}

// exchange sends a word each way.
func exchange(t *testing.T) func(a, b net.Conn) {
	return func(a, b net.Conn) {
		t.Helper()
		for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
			if _, err := way[0].Write([]byte("bramble")); err != nil {
				t.Error(err)
			}
			got := make([]byte, 7)
			way[1].SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := way[1].Read(got); err != nil || string(got) != "bramble" {
				t.Errorf("got %q, %v", got, err)
			}
		}
	}
}

func TestNothingElseIsReachable(t *testing.T) {
	n, other := up(t, 0, "node01"), up(t, 0, "node01")
	if n.Subnet.Overlaps(other.Subnet) {
		t.Fatalf("two labs share %v and %v", n.Subnet, other.Subnet)
	}
	for _, addr := range []string{other.Nodes[0].Addr.String(), other.Host.String(), "192.0.2.55", "8.8.8.8"} {
		on(t, n.Nodes[0], func() {
			conn, err := net.DialTimeout("tcp4", net.JoinHostPort(addr, "9"), time.Minute)
			if !errors.Is(err, unix.ENETUNREACH) {
				t.Errorf("%s: %v, want: network is unreachable", addr, err)
			}
			if err == nil {
				conn.Close()
			}
		})
	}
	down(t, n.Lab)
	exchange(t)(connect(t, other.Host, here, there(t, other.Nodes[0])))
}

// All nodes talk to all others: more pairs than the kernel finds neighbours for by itself.
func TestManyNodesAllTalk(t *testing.T) {
	n := up(t, 0, numbered(48)...)
	sockets := make([]*net.UDPConn, len(n.Nodes))
	for i, node := range n.Nodes {
		on(t, node, func() {
			var err error
			if sockets[i], err = net.ListenUDP("udp4", &net.UDPAddr{IP: node.Addr.AsSlice(), Port: 7}); err != nil {
				t.Error(err)
			}
		})
		defer sockets[i].Close()
	}
	for _, from := range sockets {
		for _, to := range sockets {
			if _, err := from.WriteToUDP([]byte("hello"), to.LocalAddr().(*net.UDPAddr)); err != nil {
				t.Fatalf("%v to %v: %v", from.LocalAddr(), to.LocalAddr(), err)
			}
		}
	}
	for _, socket := range sockets {
		socket.SetReadDeadline(time.Now().Add(time.Minute))
		for heard := range sockets {
			if _, _, err := socket.ReadFromUDP(make([]byte, 16)); err != nil {
				t.Fatalf("%v heard %d of %d: %v", socket.LocalAddr(), heard, len(sockets), err)
			}
		}
	}
}

// A shaper may let through its burst and what its rate allows: never more, on however slow a
// machine. The machine's own end is not shaped, so each direction meets one of the node's two shapers.
func TestRateIsKeptInBothDirections(t *testing.T) {
	n := up(t, 20e6, "node01")
	node, machine := connect(t, n.Nodes[0].Addr, there(t, n.Nodes[0]), here)
	const size = 1 << 20
	atLeast(t, 20e6, size, transfer(t, node, machine, size))
	atLeast(t, 20e6, size, transfer(t, machine, node, size))
	if err := n.SetRate("node01", 8e6); err != nil {
		t.Fatal(err)
	}
	atLeast(t, 8e6, size, transfer(t, node, machine, size))
	atLeast(t, 8e6, size, transfer(t, machine, node, size))
	for range 2 { // what is not limited can be set free too
		if err := n.SetRate("node01", 0); err != nil {
			t.Fatal(err)
		}
	}
	const much = 128 << 20 // two minutes at the old rate
	if took := transfer(t, node, machine, much) + transfer(t, machine, node, much); took > time.Minute {
		t.Errorf("unshaped, %d bytes each way took %v", much, took)
	}
}

func atLeast(t *testing.T, rate hostnet.Rate, size int, took time.Duration) {
	t.Helper()
	const burst = 32 << 10
	bound := time.Duration(float64(size-burst) * 8 / float64(rate) * float64(time.Second))
	t.Logf("%d bytes at %v took %v, at least %v", size, rate, took, bound)
	if took < bound {
		t.Errorf("%d bytes at %v took only %v, less than %v", size, rate, took, bound)
	}
}

// transfer tells how long it takes until all bytes have arrived.
func transfer(t *testing.T, from, to net.Conn, size int) time.Duration {
	t.Helper()
	start := time.Now()
	go func() {
		for chunk, sent := make([]byte, 64<<10), 0; sent < size; sent += len(chunk) {
			if _, err := from.Write(chunk); err != nil {
				return
			}
		}
	}()
	to.SetReadDeadline(start.Add(2 * time.Minute))
	for chunk, got := make([]byte, 64<<10), 0; got < size; {
		count, err := to.Read(chunk)
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", got, size, err)
		}
		got += count
	}
	return time.Since(start)
}

func TestCutAndHeal(t *testing.T) {
	n := up(t, 0, "node01", "node02")
	left, right := connect(t, n.Nodes[1].Addr, there(t, n.Nodes[1]), there(t, n.Nodes[0]))
	exchange(t)(left, right)
	if err := n.SetUp("node01", false); err != nil {
		t.Fatal(err)
	}
	for _, way := range [][2]net.Conn{{left, right}, {right, left}} {
		if _, err := way[0].Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		way[1].SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if count, err := way[1].Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes came through a cut cable: %v", count, err)
		}
	}
	if again, err := hostnet.Open(n.Lab); err != nil || !reflect.DeepEqual(again, n) {
		t.Errorf("while cut, the lab looks like %+v, %v", again, err)
	}
	if err := n.SetUp("node01", true); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{left, right} {
		got := make([]byte, 4)
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Read(got); err != nil || string(got) != "late" {
			t.Errorf("after the cable was healed: %q, %v", got, err)
		}
	}
}

func TestOpen(t *testing.T) {
	n := up(t, 0, numbered(12)...)
	again, err := hostnet.Open(n.Lab)
	if err != nil || !reflect.DeepEqual(again, n) {
		t.Errorf("made %+v, opened %+v, %v", n, again, err)
	}
	if labs, err := hostnet.Labs(); err != nil || len(labs) != 1 || labs[0] != n.Lab {
		t.Errorf("labs: %v, %v", labs, err)
	}
	if _, err := hostnet.Open(newLab()); !fault.Is(err, fault.NotFound) {
		t.Errorf("a lab that is not there: %v", err)
	}
	if err := n.SetUp("nobody", true); !fault.Is(err, fault.NotFound) {
		t.Errorf("a node that is not there: %v", err)
	}
}

func TestUpTwiceIsAConflict(t *testing.T) {
	n := up(t, 0, "node01")
	if _, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: n.Lab, Nodes: []string{"node09"}}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second time: %v", err)
	}
	exchange(t)(connect(t, n.Host, here, there(t, n.Nodes[0])))
}

func TestUpAvoidsWhatTheMachineUses(t *testing.T) {
	needRoot(t)
	lab := newLab()
	first, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab})
	if err != nil {
		t.Fatal(err)
	}
	down(t, lab)
	route := &netlink.Route{Dst: &net.IPNet{IP: first.Host.AsSlice(), Mask: net.CIDRMask(32, 32)}, Type: unix.RTN_BLACKHOLE, Table: 77}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	defer netlink.RouteDel(route)
	defer down(t, lab)
	second, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab})
	if err != nil || second.Subnet.Contains(first.Host) {
		t.Errorf("%v is in use, and the lab takes %+v, %v", first.Host, second, err)
	}
}

func TestManyUpAndDownLeaveTheMachineAsItWas(t *testing.T) {
	needRoot(t)
	before := machine(t)
	lab := newLab()
	defer down(t, lab)
	start := time.Now()
	if _, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab, Nodes: numbered(64), Rate: 100e6}); err != nil {
		t.Fatal(err)
	}
	made := time.Now()
	links, err := netlink.LinkList()
	if err != nil || len(links) != 2 {
		t.Errorf("the machine should have one link more, and has %d: %v", len(links), err)
	}
	if listed() != 65 {
		t.Errorf("%d namespaces are listed", listed())
	}
	down(t, lab)
	t.Logf("64 nodes: up in %v, down in %v", made.Sub(start), time.Since(made))
	unchanged(t, before)
	down(t, lab) // again, of nothing
	unchanged(t, before)
}

func TestDownKeepsOtherPeoplesNames(t *testing.T) {
	needRoot(t)
	for name, prepare := range map[string]func(){
		"a folder":                      func() { os.Mkdir("/run/netns", 0o755) },
		"a mount, as ip netns makes it": func() { os.Mkdir("/run/netns", 0o755); unix.Mount("/run/netns", "/run/netns", "", unix.MS_BIND, "") },
		"nothing before":                func() {},
	} {
		prepare()
		before := machine(t)
		lab := newLab()
		if _, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab, Nodes: numbered(2)}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("/run/netns/other", nil, 0o444); err != nil {
			t.Fatal(err)
		}
		down(t, lab)
		if _, err := os.Stat("/run/netns/other"); err != nil {
			t.Errorf("%s: somebody else's namespace: %v", name, err)
		}
		os.Remove("/run/netns/other")
		down(t, lab) // the last one out takes the folder away if a lab made it
		if name != "a folder" {
			unchanged(t, before)
		}
		for unix.Unmount("/run/netns", 0) == nil {
		}
		os.Remove("/run/netns")
	}
}

func TestUpThatIsInterruptedLeavesNothing(t *testing.T) {
	needRoot(t)
	before := machine(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for listed() < 20 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	lab := newLab()
	defer down(t, lab)
	if _, err := hostnet.Up(ctx, hostnet.Spec{Lab: lab, Nodes: numbered(400)}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	unchanged(t, before)
}

// A process makes a lab with running programs and is killed; another one clears up.
func TestDownAfterACrash(t *testing.T) {
	needRoot(t)
	before := machine(t)
	for name, seen := range map[string]int{"halfway": 5, "when it was up": 0} {
		lab := newLab()
		defer down(t, lab)
		self, _ := os.Executable()
		cmd := exec.Command(self, append([]string{"lab-up", t.TempDir(), lab}, numbered(20)...)...)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if seen > 0 {
			until(t, "half a lab", func() bool { return listed() >= seen })
			cmd.Process.Kill()
		} else if said, _ := stdout.Read(make([]byte, 3)); said != 3 {
			t.Fatal("the lab did not come up")
		}
		cmd.Wait()
		if labs, err := hostnet.Labs(); err != nil || len(labs) != 1 || labs[0] != lab {
			t.Errorf("%s: labs left: %v, %v", name, labs, err)
		}
		if _, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab}); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Of(err).Try, "down") {
			t.Errorf("%s: up again: %v", name, err)
		}
		down(t, lab)
		unchanged(t, before)
	}
}

func TestWithoutRoot(t *testing.T) {
	needRoot(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hostnet")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "lab-up", dir, newLab(), "node01")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "needs root") {
		t.Errorf("%v: %s", err, out)
	}
}

// The main thread cannot end: left in a node's namespace, it would keep that alive and make this process one of the node's.
func TestTheMainThreadStaysWhereItIs(t *testing.T) {
	needRoot(t)
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			hostnet.OnLostThread(func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("the main thread was to be lost")
				}
				time.Sleep(time.Millisecond) // so that many threads are wanted at once
				return nil
			})
		})
	}
	all.Wait()
	if main, err := os.Readlink("/proc/self/ns/net"); err != nil || main != machineNamespace {
		t.Errorf("the main thread is in %s, %v, and was in %s", main, err, machineNamespace)
	}
}
