package job

import "slices"

// Slots is what one node holds. Attempts start in the order they came, each as soon
// as its cores and memory are free and none waits before it. The head and the agent
// keep the same books with it, so the head knows what runs without being told of
// every start; only the agent's books decide, so a node is never over-committed even
// while the two differ by the messages under way.
type Slots struct {
	Cores  int
	Memory int64 // bytes

	running, waiting []Attempt
	cpus, waitCPUs   int
	memory, waitMem  int64
}

// Add puts an attempt behind those that wait.
func (s *Slots) Add(a Attempt) {
	s.waiting = append(s.waiting, a)
	s.waitCPUs += a.CPUs
	s.waitMem += a.Memory
}

// Start moves what may start from the waiting to the running attempts and returns it, valid until the next call.
func (s *Slots) Start() []Attempt {
	before := len(s.running)
	begun := 0
	for _, next := range s.waiting {
		if s.cpus+next.CPUs > s.Cores || next.Memory > 0 && s.memory+next.Memory > s.Memory || !s.gresFree(next.Gres) {
			break
		}
		s.run(next)
		begun++
	}
	s.waiting = slices.Delete(s.waiting, 0, begun) // those few move up, so that their place in memory is used again
	return s.running[before:]
}

// Promote counts a waiting attempt as running out of turn, because its node says that it runs.
func (s *Slots) Promote(k Key) {
	if i := find(s.waiting, k); i >= 0 {
		a := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.run(a)
	}
}

// run counts an attempt that left the waiting ones as running.
func (s *Slots) run(a Attempt) {
	s.running = append(s.running, a)
	s.waitCPUs, s.waitMem = s.waitCPUs-a.CPUs, s.waitMem-a.Memory
	s.cpus, s.memory = s.cpus+a.CPUs, s.memory+a.Memory
}

// Remove takes an attempt out, running or waiting, and reports whether it was held.
func (s *Slots) Remove(k Key) bool {
	if i := find(s.running, k); i >= 0 {
		s.cpus, s.memory = s.cpus-s.running[i].CPUs, s.memory-s.running[i].Memory
		s.running = slices.Delete(s.running, i, i+1)
		return true
	}
	if i := find(s.waiting, k); i >= 0 {
		s.waitCPUs, s.waitMem = s.waitCPUs-s.waiting[i].CPUs, s.waitMem-s.waiting[i].Memory
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return true
	}
	return false
}

// Reset takes everything out.
func (s *Slots) Reset() { *s = Slots{Cores: s.Cores, Memory: s.Memory} }

// Running is what runs; the caller must not change it.
func (s *Slots) Running() []Attempt { return s.running }

// Waiting is what waits, the next one first; the caller must not change it.
func (s *Slots) Waiting() []Attempt { return s.waiting }

// Room is how many cores are neither used nor promised; below zero for work that waits.
func (s *Slots) Room() int { return s.Cores - s.cpus - s.waitCPUs }

// fitsNow reports whether an attempt of this shape would start at once.
func (s *Slots) fitsNow(cpus int, memory int64) bool {
	return len(s.waiting) == 0 && s.cpus+cpus <= s.Cores && (memory == 0 || s.memory+memory <= s.Memory)
}

// mayWait reports whether an attempt of this shape may be handed over ahead of time:
// it fits the empty node, and at most so many nodes' worth of cores waits.
func (s *Slots) mayWait(cpus int, memory int64, nodes int) bool {
	return cpus <= s.Cores && memory <= s.Memory && s.Room()-cpus >= -nodes*s.Cores
}

// all is what is held, in a list of its own.
func (s *Slots) all() []Attempt { return slices.Concat(s.running, s.waiting) }

// gresFree reports whether what an attempt takes of generic resources is in no running one's use.
func (s *Slots) gresFree(wanted map[string]Gres) bool {
	for name, want := range wanted {
		free := want.Of
		for i := range s.running {
			free -= s.running[i].Gres[name].Take
		}
		if free < want.Take {
			return false
		}
	}
	return true
}

func find(list []Attempt, k Key) int {
	for i := range list {
		if list[i].Key == k {
			return i
		}
	}
	return -1
}

// waits reports whether an attempt is held and waits. Those that run are looked at first, being fewer.
func (s *Slots) waits(k Key) bool { return find(s.running, k) < 0 && find(s.waiting, k) >= 0 }

// holds reports whether an attempt is held, running or waiting.
func (s *Slots) holds(k Key) bool { return find(s.running, k) >= 0 || find(s.waiting, k) >= 0 }
