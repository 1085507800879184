package hostnet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	hostnet "bramble/host/net"
)

const inMachine = "HOSTNET_TEST_MACHINE"

var machineNamespace string // where this process began

// TestMain runs the tests in a machine of their own: a network namespace, mounts and a host
// name that nobody else changes, so that a test can compare all there is before and after.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == hostnet.EnterVerb {
		fmt.Fprintln(os.Stderr, hostnet.Enter(os.Args[2]))
		os.Exit(125)
	}
	if len(os.Args) > 3 && os.Args[1] == "lab-up" {
		os.Exit(labUp(os.Args[2], os.Args[3], os.Args[4:]))
	}
	switch {
	case os.Getenv(inMachine) != "":
		furnishMachine()
	case os.Geteuid() == 0:
		os.Exit(runInMachine())
	}
	os.Exit(m.Run())
}

func runInMachine() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inMachine+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // the child ends with its parent's thread
	if err := cmd.Run(); cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "making a machine for the tests:", err)
		return 1
	}
	return max(cmd.ProcessState.ExitCode(), -cmd.ProcessState.ExitCode())
}

func furnishMachine() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	check(unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	check(err)
	for line := range strings.Lines(string(mounts)) { // other people's namespaces, which go when they like
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, "/run/netns") {
			unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	check(unix.Mount("test", "/run", "tmpfs", 0, "mode=755"))
	lo, err := netlink.LinkByName("lo")
	check(err)
	check(netlink.LinkSetUp(lo))
	machineNamespace, err = os.Readlink("/proc/self/ns/net")
	check(err)
}

// labUp is a process that makes a lab, starts a program on each of its nodes, says so, and crashes.
func labUp(homes, lab string, nodes []string) int {
	n, err := hostnet.Up(context.Background(), hostnet.Spec{Lab: lab, Nodes: nodes})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, node := range n.Nodes {
		entry, err := n.Entry(node.Name, filepath.Join(homes, node.Name))
		if err != nil {
			panic(err)
		}
		argv := entry.Argv("/proc/self/exe", "sleep", "300")
		if err := exec.Command(argv[0], argv[1:]...).Start(); err != nil {
			panic(err)
		}
	}
	for found := map[string][]int{}; len(found) < len(nodes); {
		if found, err = n.Processes(); err != nil {
			panic(err)
		}
	}
	fmt.Println("up")
	unix.Kill(os.Getpid(), unix.SIGKILL)
	return 1
}

// newLab is an id that no other test has.
func newLab() string { return "t" + strings.ToLower(rand.Text()[:5]) }

func up(t *testing.T, rate hostnet.Rate, nodes ...string) *hostnet.Network {
	t.Helper()
	needRoot(t)
	lab := newLab()
	t.Cleanup(func() { down(t, lab) })
	n, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab, Nodes: nodes, Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func down(t *testing.T, lab string) {
	t.Helper()
	if err := hostnet.Down(context.WithoutCancel(t.Context()), lab); err != nil {
		t.Error(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getenv(inMachine) == "" {
		t.Skip("needs root")
	}
}

func numbered(count int) (names []string) {
	for i := range count {
		names = append(names, fmt.Sprintf("node%02d", i+1))
	}
	return names
}

// on calls f on a thread in a node's network namespace: sockets it opens belong there.
func on(t *testing.T, node hostnet.Node, f func()) {
	t.Helper()
	ns, err := netns.GetFromName(node.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = hostnet.OnLostThread(func() error {
		if err := netns.Set(ns); err != nil {
			return err
		}
		f()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// connect makes a TCP connection between two places, each a func that runs something there.
func connect(t *testing.T, at netip.Addr, serverSide, clientSide func(func())) (server, client net.Conn) {
	t.Helper()
	var listener net.Listener
	var err error
	serverSide(func() { listener, err = net.Listen("tcp4", netip.AddrPortFrom(at, 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	clientSide(func() { client, err = net.DialTimeout("tcp4", listener.Addr().String(), time.Minute) })
	if err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

func here(f func()) { f() }

func there(t *testing.T, node hostnet.Node) func(func()) {
	return func(f func()) { on(t, node, f) }
}

// program is a command on a node, whose home is the folder of that name in homes.
func program(t *testing.T, n *hostnet.Network, node, homes string, args ...string) *exec.Cmd {
	t.Helper()
	entry, err := n.Entry(node, filepath.Join(homes, node))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := entry.Argv(self, args...)
	return exec.CommandContext(t.Context(), argv[0], argv[1:]...)
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	return string(out)
}

// until waits for a condition, which a slow machine reaches later but reaches.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// listed counts the names of namespaces.
func listed() int {
	names, _ := os.ReadDir("/run/netns")
	return len(names)
}

// machine is all that a lab could leave behind, a line each.
func machine(t *testing.T) (all []string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	links, err := netlink.LinkList()
	must(err)
	for _, link := range links {
		all = append(all, "link "+link.Attrs().Name)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	must(err)
	for _, addr := range addrs {
		all = append(all, "address "+addr.String())
	}
	every := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, every, netlink.RT_FILTER_TABLE)
	must(err)
	for _, route := range routes {
		all = append(all, "route "+route.String())
	}
	must(filepath.WalkDir("/run", func(path string, _ os.DirEntry, err error) error {
		all = append(all, "file "+path)
		return err
	}))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(err)
	for line := range strings.Lines(string(mounts)) {
		all = append(all, "mount "+line)
	}
	self, err := os.Readlink("/proc/self/ns/net")
	must(err)
	all = append(all, "this process is in "+self)
	slices.Sort(all)
	return all
}

// unchanged fails the test when the machine is not as it was.
func unchanged(t *testing.T, before []string) {
	t.Helper()
	after := machine(t)
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("gone: %s", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("left behind: %s", line)
		}
	}
}
