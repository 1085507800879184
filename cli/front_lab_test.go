package cli_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bramble/front/visitor"
	"bramble/lab"
	"bramble/lab/labtest"
)

// A front's members are changed again and again, its process is replaced, the agent that looks after it and the head are killed,
// and a node dies, all under load: no visitor notices but by a wait.
func TestFrontOutlivesEverything(t *testing.T) {
	l := labtest.Up(t, 3, labtest.Loopback)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.Must("site", "publish", dir, "--name", "a", "--on", "node[1-3]")
	said := l.Must("front", "up", "--site", "a", "--on", "role=head")
	at := regexp.MustCompile(`http://([0-9.]+)(:\d+)?/`).FindStringSubmatch(said)
	if at == nil {
		t.Fatalf("front up said %q", said)
	}
	if at[2] == "" {
		at[2] = ":80"
	}
	crowd := &visitor.Crowd{At: at[1] + at[2], Path: "/", Many: 8, Pause: time.Millisecond, Right: func(body []byte) bool { return string(body) == "hello\n" }}
	crowd.Begin(t.Context())
	more := func(what string) {
		t.Helper()
		from := crowd.Answers()
		labtest.Until(t, "visitors are answered while "+what, func() bool { return crowd.Answers() >= from+300 || crowd.Failed() > 0 }, func() string { return said })
		if crowd.Failed() > 0 {
			t.Fatalf("while %s: %v", what, crowd.End())
		}
	}
	more("nothing happens")
	for i := range 5 {
		l.Must("front", "weight", "node1", strconv.Itoa(i+2))
		l.Must("front", "drain", "node2", "--wait")
		l.Must("front", "enable", "node2")
	}
	more("members are changed")

	folder := filepath.Join(l.State, lab.Head, "node", "front")
	for range 3 {
		ctx, stop := context.WithTimeout(context.Background(), 3*labtest.Patience)
		next := exec.CommandContext(ctx, labtest.Binary(t), "fronts", "--dir", folder, "--host", at[1])
		next.Env = append(os.Environ(), "BRAMBLE_LAB="+filepath.Join(l.State, lab.Head))
		log, err := os.OpenFile(filepath.Join(folder, "log.txt"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		next.Stderr = log
		err = next.Start()
		log.Close()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); next.Wait() }()
		t.Cleanup(func() { stop(); <-ended })
		labtest.Until(t, "the next process has taken over", func() bool {
			text, _ := os.ReadFile(filepath.Join(folder, "lock"))
			return string(text) == strconv.Itoa(next.Process.Pid)
		}, func() string { text, _ := os.ReadFile(filepath.Join(folder, "log.txt")); return string(text) })
		more("the process is replaced")
	}

	agent := agentOf(t, l, lab.Head)
	if err := syscall.Kill(agent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	more("there is no head and no agent")
	if err := l.Heal(t.Context(), lab.Head); err != nil {
		t.Fatal(err)
	}
	labtest.Until(t, "the front is looked after again", func() bool {
		return strings.Contains(labtest.Bramble(t, l.State, "front", "status").Stdout, "\tnode1\tup\t")
	}, func() string { return labtest.Bramble(t, l.State, "front", "status").Stderr })
	more("the head is back")
	if err := l.Kill(t.Context(), "node3"); err != nil {
		t.Fatal(err)
	}
	more("a node is dead")
	labtest.Until(t, "the dead node is known", func() bool { return strings.Contains(l.Must("front", "status"), "\tnode3\tdown\t") }, func() string { return l.Must("front", "status") })
	if err := crowd.End(); err != nil {
		t.Errorf("of %d requests %d failed: %v", crowd.Answers(), crowd.Failed(), err)
	}
	t.Logf("%d visits, none failed", crowd.Answers())
	l.Must("front", "down")
}

// agentOf is the process id of a node's agent.
func agentOf(t *testing.T, l *labtest.Lab, node string) int {
	t.Helper()
	nodes, err := l.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name == node {
			return n.Pid
		}
	}
	t.Fatalf("there is no node %s", node)
	return 0
}

// With direct return the nodes answer visitors themselves. It goes on when the front's process and the head are killed, and
// nothing of it is left anywhere when the front is taken down.
func TestDirectFront(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("direct return needs root, for network namespaces; CI is root")
	}
	l := labtest.Up(t, 3)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.Must("site", "publish", dir, "--name", "a", "--on", "all", "--listen", ":8088")
	nodes, err := l.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	in := func(node, command string, args ...string) string {
		t.Helper()
		for _, n := range nodes {
			if n.Name == node {
				out, err := exec.Command("ip", append([]string{"netns", "exec", n.Namespace, command}, args...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v: %s", command, err, out)
				}
				return string(out)
			}
		}
		t.Fatalf("there is no node %s", node)
		return ""
	}
	state := func() (all string) {
		for _, n := range nodes {
			all += n.Name + "\n" + in(n.Name, "ip", "-br", "addr") + in(n.Name, "nft", "list", "ruleset") + in(n.Name, "sysctl", "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce")
		}
		return all
	}
	before := state()
	address := netip.MustParseAddr(nodes[0].Address)
	for range 100 {
		address = address.Next()
	}
	l.Must("front", "up", "--site", "a", "--direct", "--address", address.String(), "--on", "role=head")
	up := func(node, word string) func() bool {
		return func() bool {
			return strings.Contains(labtest.Bramble(t, l.State, "front", "status").Stdout, "\t"+node+"\t"+word+"\t")
		}
	}
	for _, n := range []string{"node1", "node2", "node3"} {
		labtest.Until(t, n+" is up", up(n, "up"), func() string { return l.Must("front", "status") })
	}
	if text := l.Must("front", "status"); strings.Contains(text, "\thead\tup\t33%") {
		t.Errorf("the front is its own member: %s", text)
	}
	crowd := &visitor.Crowd{At: address.String() + ":8088", Path: "/", Many: 8, Pause: time.Millisecond, Right: func(body []byte) bool { return string(body) == "hello\n" }}
	crowd.Begin(t.Context())
	more := func(what string) {
		t.Helper()
		from := crowd.Answers()
		labtest.Until(t, "visitors are answered while "+what, func() bool { return crowd.Answers() >= from+300 || crowd.Failed() > 0 })
		if crowd.Failed() > 0 {
			t.Fatalf("while %s: %v", what, crowd.End())
		}
	}
	more("nothing happens")
	l.Must("front", "drain", "node1")
	l.Must("front", "enable", "node1")
	more("a node is drained and comes back")
	pid, err := os.ReadFile(filepath.Join(l.State, lab.Head, "node", "front", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	process, err := strconv.Atoi(string(pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, victim := range []int{process, agentOf(t, l, lab.Head)} {
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	more("nobody looks after it")
	if err := l.Heal(t.Context(), lab.Head); err != nil {
		t.Fatal(err)
	}
	labtest.Until(t, "it is looked after again", up("node2", "up"), func() string { return labtest.Bramble(t, l.State, "front", "status").Stderr })
	more("all is back")
	if err := crowd.End(); err != nil {
		t.Errorf("of %d requests %d failed: %v", crowd.Answers(), crowd.Failed(), err)
	}
	if err := syscall.Kill(agentOf(t, l, "node2"), syscall.SIGKILL); err != nil { // and with it the site there
		t.Fatal(err)
	}
	labtest.Until(t, "node2 is down", up("node2", "down"), func() string { return l.Must("front", "status") })
	if text := in("node2", "ip", "-br", "addr", "show", "lo"); !strings.Contains(text, address.String()+"/32") {
		t.Errorf("the address has gone with the agent: %s", text)
	}
	if err := l.Heal(t.Context(), "node2"); err != nil {
		t.Fatal(err)
	}
	labtest.Until(t, "node2 is up again", up("node2", "up"), func() string { return l.Must("front", "status") })
	l.Must("nodes", "remove", "node3", "--yes")
	holds := func() string { return in("node3", "ip", "-br", "addr", "show", "lo") }
	labtest.Until(t, "node3, which is no member any more, has let the address go", func() bool { return !strings.Contains(holds(), address.String()) }, holds)
	l.Must("front", "down")
	labtest.Until(t, "all is as it was", func() bool { return state() == before }, func() string { return "before:\n" + before + "after:\n" + state() })
}
