package direct_test

import (
	"slices"
	"strings"
	"testing"
)

// The doctor tells a member that does not hold the address from one whose server hides, before and while it is at work.
func TestDoctorOnTheNetwork(t *testing.T) {
	s := newSegment(t, 4)
	s.serve("node1", all)
	s.serve("node2", s.node("node2").Addr)
	s.serve("node3", all)
	for _, name := range []string{"node1", "node2", "node4"} {
		s.program(name, "front", "direct-member", "--address", s.service.String())
	}
	args := []string{"front", "doctor", "--address", s.service.String()}
	member := func(name string) string { // what the doctor says there
		out, _ := s.command(name, args...).CombinedOutput()
		return string(out)
	}
	for name, want := range map[string]string{"node1": "something listens at port 80", "node2": "listens at " + s.node("node2").Addr.String() + " only", "node4": "nothing listens at port 80"} {
		if said := member(name); !strings.Contains(said, want) {
			t.Errorf("%s: no %q in\n%s", name, want, said)
		}
	}
	for _, n := range s.spec().Members {
		args = append(args, "--member", n.Address.String()+",name="+n.Name)
	}
	args = append(args, "--member", "192.0.2.7,name=far", "--member", s.service.Prev().String()+",name=nobody", "--member", s.node("front").Addr.String()+",name=itself")
	look := func(when string) {
		t.Helper()
		out, err := s.command("front", args...).CombinedOutput()
		if err == nil {
			t.Errorf("%s, all is said to be well", when)
		}
		lines := strings.Split(string(out), "\n")
		for _, want := range []string{"ok   interface", "ok   address", "ok   kernel", "ok   member node1", "bad  member node2|listens at " + s.node("node2").Addr.String() + " only",
			"bad  member node3|does not hold that", "bad  member node4|nothing listens at its port 80", "bad  member far|there is a router between",
			"bad  member nobody|nobody says", "bad  member itself|is the front itself"} {
			begin, rest, _ := strings.Cut(want, "|")
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, begin) && strings.Contains(l, rest) }) {
				t.Errorf("%s, no %q in\n%s", when, want, out)
			}
		}
	}
	look("before")
	s.program("front", "front", "direct", "--address", s.service.String(), "--member", s.node("node1").Addr.String(), "--member", s.node("node2").Addr.String())
	s.until("node1 alone to be asked", func(found map[string]int) bool { return found["node1"] == 64 })
	look("at work")

	for want, words := range map[string][]string{
		"is the front itself":        {"--address", s.service.Prev().String(), "--member", s.node("front").Addr.String()},
		"is in no network of eth0":   {"--address", "192.0.2.7", "--on", "eth0", "--member", "192.0.2.8"},
		"no interface here is in":    {"--address", "192.0.2.7", "--member", "192.0.2.8"},
		"at work on this machine":    {"--address", s.service.String(), "--member", s.node("node1").Addr.String()},
		"says that it has":           {"--address", s.node("node4").Addr.String(), "--member", s.node("node1").Addr.String()},
		"there is no interface eth9": {"--address", s.service.String(), "--on", "eth9", "--member", s.node("node1").Addr.String()},
	} {
		out, err := s.command("front", append([]string{"front", "direct"}, words...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "try: ") {
			t.Errorf("no %q in %v, %s", want, err, out)
		}
	}
}

// Who is not root is told so, before anything is changed.
func TestWithoutRoot(t *testing.T) {
	s := newSegment(t, 1)
	before := s.state("node1")
	for _, args := range [][]string{{"front", "direct-member"}, {"front", "direct", "--member", s.node("front").Addr.String()}} {
		cmd := s.command("node1", append(args, "--address", s.service.String())...)
		cmd.Args = slices.Insert(cmd.Args, 2, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "root") || !strings.Contains(string(out), "bramble front serve") {
			t.Errorf("%v: %v, %s", args, err, out)
		}
	}
	if now := s.state("node1"); now != before {
		t.Errorf("it was\n%s\nand is\n%s", before, now)
	}
}
