package vrrp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bramble/lab/labtest"
)

// other is the one of two nodes that a given one is not.
func other(node string) string { return map[string]string{"a": "b", "b": "a"}[node] }

// Whatever happens to the front that has the address, the other one has it then, and it alone.
func TestTakeover(t *testing.T) {
	l := newNeighbourhood(t, "a", "b")
	l.args = []string{"--every", "0s"} // or who is cut off would learn that there is nobody behind it
	claimed := l.claims()
	l.front("a", "")
	l.settle("a")
	l.front("b", "")
	l.says("b", "listening", 1)
	select { // before anybody asks
	case <-claimed:
	case <-time.After(labtest.Patience):
		t.Fatal("no neighbour is told who has the address")
	}
	v := l.visit()
	l.served(v)
	then := func(what, has string) {
		t.Helper()
		l.settle(has)
		t.Logf("%s: no answer for %s", what, l.served(v).Round(time.Millisecond))
		l.settle(has)
	}

	l.signal("a", syscall.SIGKILL)
	then("killed", "b")
	l.front("a", "")
	l.says("a", "listening", 2)

	l.signal("b", syscall.SIGSTOP)
	then("hung", "a")
	l.signal("b", syscall.SIGCONT)
	l.says("b", "this process did not run", 1)
	then("goes on", "a")

	if err := l.SetUp("a", false); err != nil {
		t.Fatal(err)
	}
	l.says("a", "the cable is out", 1)
	then("cable out", "b")
	if err := l.SetUp("a", true); err != nil {
		t.Fatal(err)
	}
	then("cable in", "b")

	l.isolate("b", true)
	then("the switch has lost it", "ab") // b does not know, and has it still
	l.isolate("b", false)
	then("the switch has found it", "b") // of equals the higher address

	l.signal("b", syscall.SIGTERM)
	then("ended", "a")
	l.signal("a", syscall.SIGTERM)
	l.settle("")
	for _, name := range []string{"a", "b"} {
		if p := l.running[name]; !p.ProcessState.Success() {
			t.Errorf("%s ended by %s", name, p.ProcessState)
		}
	}
}

// The one of higher priority has it, unless there is nobody behind it.
func TestPriority(t *testing.T) {
	l := newNeighbourhood(t, "a", "b")
	l.front("a", "")
	l.settle("a")
	nobody := strings.Replace(l.backend, l.Host.String(), l.Nodes[1].Addr.String(), 1) // where nothing listens
	l.start("b", labtest.Binary(t), "front", "serve", "--listen", ":80", "--address", l.shared.String()+"/20,priority=200", "--backend", nobody)
	l.says("b", "a member is down", 1)
	l.settle("a")
	l.signal("b", syscall.SIGKILL)
	l.front("b", ",priority=200,on=eth0")
	l.settle("b")
	l.signal("b", syscall.SIGKILL)
	l.settle("a")
}

// What cannot be is said.
func TestRefused(t *testing.T) {
	l := newNeighbourhood(t, "a", "b")
	owner := l.Nodes[1].Addr.String()
	front := func(address string) []string {
		return []string{labtest.Binary(t), "front", "serve", "--listen", ":80", "--address", address, "--backend", l.backend}
	}
	for _, test := range []struct {
		args []string
		says string
		exit int
	}{
		{front("192.0.2.1/24"), "192.0.2.1 is in no network of this machine: eth0 " + l.Nodes[0].Addr.String() + "/20", 2},
		{front(l.shared.String() + ",on=eth7"), "there is no interface eth7; there are eth0", 3},
		{front(l.Nodes[0].Addr.String()), "is in no network of this machine", 2},
		{front(owner), owner + " belongs to another machine, at ", 1},
		{append([]string{"setpriv", "--bounding-set", "-net_admin"}, front(l.shared.String())...), "needs root, or the capabilities", 1},
	} {
		p := l.start("a", test.args...)
		labtest.Until(t, fmt.Sprint(test.args, " to end"), func() bool {
			select {
			case <-p.ended:
				return true
			default:
				return false
			}
		})
		if text, _ := os.ReadFile(p.log); !strings.Contains(string(text), test.says) || p.ProcessState.ExitCode() != test.exit {
			t.Errorf("%v: exit status %d\n%s", test.args[2:], p.ProcessState.ExitCode(), text)
		}
		os.Remove(p.log)
	}
	l.settle("")
}

// Debian's keepalived can be the other one, whichever has the higher priority.
func TestKeepalived(t *testing.T) {
	l := newNeighbourhood(t, "a", "b")
	keepalived := func(priority int) {
		t.Helper()
		file := func(name string) string { return filepath.Join(l.dir, name) }
		settings := fmt.Sprintf("global_defs {\n\tvrrp_version 3\n}\nvrrp_instance a {\n\tinterface eth0\n\tvirtual_router_id 200\n\tpriority %d\n\tadvert_int 0.2\n\tvirtual_ipaddress {\n\t\t%s/32\n\t}\n}\n", priority, l.shared)
		if err := os.WriteFile(file("settings"), []byte(settings), 0o644); err != nil {
			t.Fatal(err)
		}
		l.start("b", "keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", file("settings"), "--pid", file("pid"), "--vrrp_pid", file("vrrp"))
	}
	l.front("a", "")
	l.settle("a")
	keepalived(50)
	l.says("b", "Entering BACKUP STATE", 1)
	l.signal("a", syscall.SIGTERM)
	l.settle("b")
	l.front("a", "")
	l.settle("a")
	l.signal("b", syscall.SIGTERM)

	keepalived(150) // which hears a front that is weaker
	l.settle("b")
	l.says("b", "received lower priority (100)", 1)
	l.signal("b", syscall.SIGTERM)
	l.settle("a")
	if text, _ := os.ReadFile(l.running["b"].log); strings.Contains(string(text), "hecksum") {
		t.Errorf("the other one finds fault with what it hears:\n%s", text)
	}
}
