package direct_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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
	kept := open[:0]
	for _, v := range open {
		if v.node != "node2" {
			kept = append(kept, v)
		} else if _, err := v.ask(10 * time.Second); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection with a member that is gone: %v", err)
		}
	}
	open = kept
	whole("without node2")
	if err := s.SetUp("node2", true); err != nil {
		t.Fatal(err)
	}
	s.until("node2 to be back", everybody)
	whole("with node2 again")

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

func (s *segment) counts(w *direct.Watch) (all []direct.Count) {
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
	start := func() (kill func(syscall.Signal)) {
		t.Helper()
		member, said1 := s.program("node1", "front", "direct-member", "--address", s.service.String())
		front, said2 := s.program("front", "front", "direct", "--address", s.service.String()+"/20", "--every", "20ms", "--member", s.node("node1").Addr.String(), "--member", s.node("node2").Addr.String())
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
	kill = start()
	s.until("visitors to be answered", node1)
	if _, err := v.ask(10 * time.Second); err != nil {
		t.Errorf("a connection from before: %v", err)
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
