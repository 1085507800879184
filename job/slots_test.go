package job

import "testing"

func TestSlots(t *testing.T) {
	at := func(i, cpus int, memory int64) Attempt {
		return Attempt{Key: Key{Job: 1, Index: i, Attempt: 1}, CPUs: cpus, Memory: memory}
	}
	s := Slots{Cores: 4, Memory: 100}
	s.Add(at(0, 2, 60))
	s.Add(at(1, 1, 60)) // waits for memory
	s.Add(at(2, 1, 0))  // waits its turn
	if got := s.Start(); len(got) != 1 || got[0].Index != 0 {
		t.Fatalf("started %v, want 0", got)
	}
	if s.Room() != 0 || len(s.Waiting()) != 2 {
		t.Errorf("room %d with %d waiting", s.Room(), len(s.Waiting()))
	}
	s.Cores = 6
	if s.fitsNow(1, 0) {
		t.Error("an attempt would overtake those that wait")
	}
	s.Cores = 4
	if s.Remove(at(7, 1, 0).Key) {
		t.Error("removed what it doesn't hold")
	}
	s.Promote(at(2, 1, 0).Key)
	if len(s.Running()) != 2 {
		t.Errorf("%d run after one was promoted", len(s.Running()))
	}
	s.Remove(at(0, 2, 60).Key)
	if got := s.Start(); len(got) != 1 || got[0].Index != 1 {
		t.Fatalf("started %v, want 1", got)
	}
	s.Remove(at(1, 1, 60).Key)
	s.Remove(at(2, 1, 0).Key)
	if s.Room() != 4 || !s.fitsNow(4, 100) || s.fitsNow(5, 0) || s.fitsNow(1, 101) {
		t.Errorf("an empty node has room %d", s.Room())
	}
	if !s.mayWait(4, 100, 1) || s.mayWait(5, 0, 1) || s.mayWait(1, 101, 1) {
		t.Error("what may wait on an empty node is wrong")
	}
}
