package front_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"bramble/front"
	"bramble/front/visitor"
	"bramble/lab"
	"bramble/lab/labtest"
)

// keeping is a lab whose front has an address that its nodes share, and visitors of that.
type keeping struct {
	*labtest.Lab
	*testing.T
	shared string
	up     []string // the command that puts the front up
	nodes  map[string]lab.Node
	taken  map[string]*atomic.Int64 // how often a node got the address, which it had not
	lost   map[string]*atomic.Int64
}

// newKeeping is of some nodes, beside one that serves what is asked for.
func newKeeping(t *testing.T, carriers int) *keeping {
	t.Helper()
	if testing.Short() {
		t.Skip("short: a lab takes seconds; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("a shared address needs root, for network namespaces; CI is root")
	}
	k := &keeping{Lab: labtest.Up(t, carriers+1), T: t, nodes: map[string]lab.Node{}, taken: map[string]*atomic.Int64{}, lost: map[string]*atomic.Int64{}}
	nodes, err := k.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr(nodes[0].Address)
	for range 100 {
		address = address.Next()
	}
	k.shared = address.String()
	for _, n := range nodes {
		k.nodes[n.Name] = n
		k.count(n)
	}
	dir := t.TempDir()
	for name, size := range map[string]int64{"index.html": 5, "long": 64 << 20} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	k.Must("site", "publish", dir, "--name", "a", "--on", "node"+strconv.Itoa(carriers+1), "--listen", ":8088")
	k.up = []string{"front", "up", "--site", "a", "--listen", ":80", "--address", k.shared, "--on", "node[1-" + strconv.Itoa(carriers) + "]"}
	k.Must(k.up...)
	labtest.Until(t, "the address is visited", func() bool {
		res, err := http.Get("http://" + k.shared + "/")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, func() string { return k.Must("front", "status") })
	return k
}

// count counts how often a node gets the shared address and loses it, as its kernel says.
func (k *keeping) count(n lab.Node) {
	k.Helper()
	taken, lost := &atomic.Int64{}, &atomic.Int64{}
	k.taken[n.Name], k.lost[n.Name] = taken, lost
	ns, err := netns.GetFromName(n.Namespace)
	if err != nil {
		k.Fatal(err)
	}
	defer ns.Close()
	news, stop := make(chan netlink.AddrUpdate), make(chan struct{})
	if err := netlink.AddrSubscribeAt(ns, news, stop); err != nil {
		k.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		has := false
		for u := range news {
			if u.LinkAddress.IP.String() != k.shared || u.NewAddr == has { // renewed
				continue
			}
			if has = u.NewAddr; has {
				taken.Add(1)
			} else {
				lost.Add(1)
			}
		}
	}()
	k.Cleanup(func() { close(stop); <-ended })
}

// moves is how often each node has taken and lost the address.
func (k *keeping) moves() string {
	all := map[string][2]int64{}
	for name := range k.nodes {
		all[name] = [2]int64{k.taken[name].Load(), k.lost[name].Load()}
	}
	return fmt.Sprint(all)
}

// holder is the node that has the address.
func (k *keeping) holder() string {
	k.Helper()
	for name := range k.nodes {
		if k.taken[name].Load() > k.lost[name].Load() {
			return name
		}
	}
	k.Fatal("nobody has the address")
	return ""
}

// folder is that of a node's fronts.
func (k *keeping) folder(node string) string { return filepath.Join(k.State, node, "node", "front") }

// replace has another process carry a node's fronts, and returns when it does.
func (k *keeping) replace(node string) (pid int) {
	k.Helper()
	folder := k.folder(node)
	ctx, stop := context.WithCancel(context.Background())
	next := exec.CommandContext(ctx, "ip", "netns", "exec", k.nodes[node].Namespace, labtest.Binary(k.T), "fronts", "--dir", folder, "--host", "")
	next.Env = append(os.Environ(), "BRAMBLE_LAB="+filepath.Join(k.State, node))
	log, err := os.OpenFile(filepath.Join(folder, "log.txt"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		k.Fatal(err)
	}
	defer log.Close()
	next.Stderr = log
	if err := next.Start(); err != nil {
		k.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); next.Wait() }()
	k.Cleanup(func() { stop(); <-ended })
	labtest.Until(k.T, "the next process has taken over", func() bool { return front.Carrier(folder) == next.Process.Pid }, func() string { return k.told(node) })
	return next.Process.Pid
}

// told is what a node's fronts have said.
func (k *keeping) told(node string) string {
	text, _ := os.ReadFile(filepath.Join(k.folder(node), "log.txt"))
	return string(text)
}

// kept does something to a front again and again: no visit fails, a download goes on, and the address stays where it is.
func (k *keeping) kept(times int, do func(i int)) {
	k.Helper()
	holder := k.holder()
	before := k.moves()
	res, err := http.Get("http://" + k.shared + "/long")
	if err != nil {
		k.Fatal(err)
	}
	defer res.Body.Close()
	v := &visitor.Passers{URL: "http://" + k.shared + "/", Every: 5 * time.Millisecond}
	v.Begin(k.Context())
	defer v.End()
	for i := range times {
		do(i)
		labtest.Until(k.T, "visitors to be served", func() bool { return v.Row() >= 200*(i+1) })
	}
	if _, failed := v.Outage(); !failed.IsZero() {
		k.Errorf("a visit failed that began at %s", failed.Format(time.TimeOnly))
	}
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n != res.ContentLength || n != 64<<20 {
		k.Errorf("of a download that began before, %d bytes came: %v", n, err)
	}
	if after := k.moves(); after != before {
		k.Errorf("the address did not stay where it was: %s, then %s", before, after)
	}
	if n := strings.Count(k.told(holder), "this front has the shared address"); n < times {
		k.Errorf("it is said %d times that the address is had", n)
	}
}

// The process of the front that has a shared address is replaced, again and again: the address stays, and so do connections to it.
// When the next process dies at once, another node has the address.
func TestReplacedProcessKeepsAddress(t *testing.T) {
	k := newKeeping(t, 2)
	holder := k.holder()
	k.kept(6, func(int) { k.replace(holder) })
	other := map[string]string{"node1": "node2", "node2": "node1"}[holder]
	if err := syscall.Kill(k.nodes[holder].Pid, syscall.SIGKILL); err != nil { // the agent, which would start another one
		t.Fatal(err)
	}
	pid := k.replace(holder)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	labtest.Until(t, "the other node has the address", func() bool { return k.taken[other].Load() > k.lost[other].Load() }, func() string { return k.told(other) })
	t.Logf("the other node has it after %s", time.Since(killed).Round(time.Millisecond))
	labtest.Until(t, "the node of the dead process has not", func() bool { return k.taken[holder].Load() == k.lost[holder].Load() })
}

// With one node the address is never away, whether the process is replaced or the front within it.
func TestReplacedProcessKeepsAddressAlone(t *testing.T) {
	k := newKeeping(t, 1)
	k.kept(3, func(int) { k.replace("node1") })
	k.kept(3, func(i int) { k.Must(append(k.up, "--client-connections", strconv.Itoa(1000+i))...) })
}

// A node that is removed from the cluster carries its fronts no more, also if it was off meanwhile: the address is another node's.
func TestRemovedNodeCarriesNothing(t *testing.T) {
	k := newKeeping(t, 2)
	first := k.holder()
	second := map[string]string{"node1": "node2", "node2": "node1"}[first]
	has := func(node string) bool { return k.taken[node].Load() > k.lost[node].Load() }
	said := func() string { return k.told(first) + k.told(second) + k.Must("front", "status") }
	k.Must("nodes", "remove", first, "--yes")
	labtest.Until(t, "the other node has the address", func() bool { return has(second) && !has(first) }, said)
	labtest.Until(t, "the removed node carries nothing", func() bool { return front.Carrier(k.folder(first)) == 0 }, said)
	if text := k.Must("front", "status"); strings.Contains(text, first) || !strings.Contains(text, second) {
		t.Errorf("the status is %s", text)
	}
	v := &visitor.Passers{URL: "http://" + k.shared + "/", Every: 10 * time.Millisecond}
	v.Begin(t.Context())
	labtest.Until(t, "visitors to be served", func() bool { return v.Row() >= 100 }, said)
	v.End()

	for _, pid := range []int{k.nodes[second].Pid, front.Carrier(k.folder(second))} { // it is off, and begins again later
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	k.Must("nodes", "remove", second, "--yes")
	labtest.Until(t, "it is off", func() bool { return !has(second) })
	begun := k.taken[second].Load()
	if err := k.Heal(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	labtest.Until(t, "it knows that it was removed", func() bool {
		text, _ := os.ReadFile(filepath.Join(k.folder(second), "orders.json"))
		return !strings.Contains(string(text), k.shared)
	}, said)
	labtest.Until(t, "it carries nothing", func() bool { return front.Carrier(k.folder(second)) == 0 && !has(second) }, said)
	t.Logf("while it did not know it had the address %d times", k.taken[second].Load()-begun)
}
