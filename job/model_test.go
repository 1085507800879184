package job

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bramble/host"
)

// The model: a head, its disk, and machines that keep what they are given with Slots,
// over links that delay and lose. Everything happens in random order from a seed.
type world struct {
	t        *testing.T
	rnd      *rand.Rand
	now      time.Time
	s        *State
	rate     int // submissions in 1,000 events
	crashes  int // of the head in 1,000 events
	machines []*machine

	journal  []written // all that this head and the ones before it have written and not lost
	durable  int       // entries on disk
	snapshot []byte    // of a moment whose entries were on disk
	parked   []Action

	accepted map[ID]int      // elements of the jobs that were acknowledged
	executed map[string]bool // attempts that ran, members of an allocation by their node
	outcome  map[Key]bool    // attempts that ended, and whether well
	final    map[Key]Key     // by task (attempt 0): the attempt that was final on disk
	seen     map[string]int
	log      []string
}

// written is one record and the results that were final with it.
type written struct {
	seq   uint64
	data  []byte
	final []Key
}

type machine struct {
	name      string
	slots     Slots
	connected bool
	drained   bool
	unacked   []Result
	in        []Action // from the head
	out       []Event  // to the head
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), now: begin, s: NewState(), rate: 3 + 9*int(seed%4), crashes: 2 + 8*int(seed%3),
		accepted: map[ID]int{}, executed: map[string]bool{}, outcome: map[Key]bool{}, final: map[Key]Key{}, seen: map[string]int{},
	}
	for i, cores := range []int{1, 2, 4, 4, 3} {
		w.machines = append(w.machines, &machine{name: fmt.Sprintf("n%d", i+1), slots: Slots{Cores: cores, Memory: 1000}})
	}
	w.step(HeadStarted{})
	return w
}

// step lets the head think; what it asks for waits for the disk.
func (w *world) step(ev Event) {
	actions := Step(w.s, ev, w.now)
	w.log = append(w.log, fmt.Sprintf("%T %v", ev, text(actions)))
	check(w.t, w.s)
	w.checkLoad()
	var final []Key
	for _, a := range actions {
		w.seen[fmt.Sprintf("%T", a)]++
		switch a := a.(type) {
		case Record:
			w.journal = append(w.journal, written{seq: a.Seq, data: a.Data})
		case Final:
			for _, r := range a.Results {
				final = append(final, r.Key())
			}
		default:
			w.parked = append(w.parked, a)
		}
	}
	if len(final) > 0 {
		last := &w.journal[len(w.journal)-1]
		if last.seq != w.s.Seq() || last.final != nil {
			w.t.Fatal("results are final without a record")
		}
		last.final = final
	}
	w.release()
}

// checkLoad holds the head to the cores it may hand out: a node's own and as many ahead of time.
func (w *world) checkLoad() {
	load := map[string]int{}
	for _, j := range w.s.jobs {
		for _, a := range j.active {
			if j.spec.Spread() {
				continue // its shares are in the books, and those are checked
			}
			load[a.node.name] += a.cpus
		}
	}
	for _, m := range w.machines {
		if load[m.name] > (1+maxAhead)*m.slots.Cores {
			w.t.Fatalf("%s has %d cores and was handed work for %d", m.name, m.slots.Cores, load[m.name])
		}
	}
}

// release does what waits for nothing more.
func (w *world) release() {
	disk := uint64(0)
	if w.durable > 0 {
		disk = w.journal[w.durable-1].seq
	}
	parked := w.parked
	w.parked = nil
	for _, a := range parked {
		after, to := waitsFor(a)
		switch {
		case after > disk:
			w.parked = append(w.parked, a)
		case to != "":
			if m := w.machine(to); m.connected {
				m.in = append(m.in, a)
			}
		default:
			if a, ok := a.(Accepted); ok {
				sum, _ := w.s.Job(a.ID)
				w.accepted[a.ID] = sum.Tasks
			}
		}
	}
}

func waitsFor(a Action) (after uint64, node string) {
	switch a := a.(type) {
	case Accepted:
		return a.After, ""
	case Forget:
		return a.After, a.Node
	case Start:
		return a.After, a.Node
	case Kill:
		return a.After, a.Node
	case Recall:
		return a.After, a.Node
	case Limit:
		return a.After, a.Node
	case JobEnded:
		return a.After, ""
	}
	return 0, ""
}

// sync puts some more records on disk; what they say is then final.
func (w *world) sync(n int) {
	for ; n > 0 && w.durable < len(w.journal); n-- {
		for _, k := range w.journal[w.durable].final {
			task := Key{Job: k.Job, Index: k.Index}
			if had, ok := w.final[task]; ok {
				w.t.Fatalf("%s is final after %s was", k, had)
			}
			if _, ended := w.outcome[k]; !ended {
				w.t.Fatalf("%s is final and never ended", k)
			}
			w.final[task] = k
		}
		w.durable++
	}
	w.release()
}

func (w *world) machine(name string) *machine {
	for _, m := range w.machines {
		if m.name == name {
			return m
		}
	}
	w.t.Fatalf("no machine %s", name)
	return nil
}

// crash ends the head and starts the next one from what is on disk.
func (w *world) crash() {
	w.sync(w.rnd.IntN(3)) // the disk may have got further than the head knew
	w.seen["crash"]++
	w.journal = w.journal[:w.durable]
	w.parked = nil
	w.s = w.replay()
	for id, tasks := range w.accepted {
		if sum, ok := w.s.Job(id); !ok || sum.Tasks != tasks {
			w.t.Fatalf("job %d was acknowledged and is lost", id)
		}
	}
	for _, m := range w.machines {
		m.connected, m.in, m.out = false, nil, nil
	}
	var expect []string
	if w.rnd.IntN(2) == 0 {
		expect = []string{"n1", "n2", "n3", "n4", "n5"}
	}
	w.step(HeadStarted{Expect: expect})
	for _, on := range w.s.Selections() {
		w.step(Eligible{Selection: on, Nodes: eligible(on.On)})
	}
	w.offer()
	for _, m := range w.machines {
		if m.drained {
			w.step(Drained{m.name})
		}
	}
}

// replay is the state that the journal gives back, half of the time from a snapshot on.
func (w *world) replay() *State {
	s := NewState()
	if w.snapshot != nil && w.rnd.IntN(2) == 0 {
		var err error
		if s, err = Restore(w.snapshot); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, e := range w.journal {
		if err := s.Apply(e.data); err != nil {
			w.t.Fatal(err)
		}
	}
	return s
}

// compare holds the journal to the live state.
func (w *world) compare() {
	live := w.s.Snapshot()
	if !bytes.Equal(w.replay().Snapshot(), live) {
		w.t.Fatal("the journal gives another state back")
	}
	if w.durable == len(w.journal) {
		w.snapshot = live
	}
}

func eligible(on string) []string {
	if on == "odd" {
		return []string{"n1", "n3", "n5"}
	}
	return []string{"n1", "n2", "n3", "n4", "n5"}
}

func (w *world) submit() {
	s := Spec{
		User: "ada", Args: []string{"true"}, CPUs: 1 + w.rnd.IntN(3), Memory: int64(w.rnd.IntN(3) * 300),
		Array: fmt.Sprintf("3-%d:3", 3+w.rnd.IntN(60)), Retries: w.rnd.IntN(3), Patience: time.Duration(w.rnd.IntN(20)) * time.Second,
	}
	if w.rnd.IntN(3) == 0 {
		s.Array += fmt.Sprintf("%%%d", 1+w.rnd.IntN(3))
	}
	if w.rnd.IntN(3) == 0 {
		s.On = "odd"
	}
	switch w.rnd.IntN(16) {
	case 0:
		s.Nodes, s.Ranks, s.CPUs, s.Memory = 2+w.rnd.IntN(2), 3, 1, 100
		s.Array = fmt.Sprintf("1-%d", 1+w.rnd.IntN(4))
	case 1:
		s.Ranks, s.CPUs, s.Memory, s.MemoryPerCPU = 2+w.rnd.IntN(5), 1, 0, 100
		s.Array = fmt.Sprintf("1-%d", 1+w.rnd.IntN(4))
	case 2:
		s.Exclusive = true
	case 3:
		s.Gres = map[string]int{"camera": 1}
	case 4:
		s.Hold = true
	case 5:
		s.Begin = w.now.Add(time.Duration(w.rnd.IntN(20)) * time.Second)
	}
	if last := int(w.s.Last()); last > 0 && w.rnd.IntN(4) == 0 {
		kind := []DependencyKind{After, AfterAny, AfterOK, AfterNotOK, Singleton}[w.rnd.IntN(5)]
		s.Depend = []Dependency{{Kind: kind, Job: ID(1 + w.rnd.IntN(last))}}
	}
	s.User = []string{"ada", "bob"}[w.rnd.IntN(2)]
	s.NoRequeue = w.rnd.IntN(5) == 0
	if w.rnd.IntN(2) == 0 {
		s.Timeout = time.Duration(1+w.rnd.IntN(30)) * time.Second
	}
	var nodes []Capacity
	for _, name := range eligible(s.On) {
		m := w.machine(name)
		nodes = append(nodes, Capacity{Name: name, Cores: m.slots.Cores, Memory: m.slots.Memory, Gres: map[string]int{"camera": cameras[name]}})
	}
	if Fits(s, nodes) != nil {
		return
	}
	w.step(Submitted{Spec: s, Nodes: eligible(s.On)})
	w.offer()
}

// offer says which machines have a camera.
func (w *world) offer() { w.step(Offered{Gres: "camera", Nodes: cameras}) }

var cameras = map[string]int{"n1": 1, "n4": 2}

// connect lets a machine say what it holds; after an outage or in between.
func (w *world) connect(m *machine) {
	m.connected = true
	ev := NodeUp{Name: m.name, Cores: m.slots.Cores, Memory: m.slots.Memory, Results: slices.Clone(m.unacked)}
	for _, a := range m.slots.Running() {
		ev.Held = append(ev.Held, Held{Attempt: a})
	}
	for _, a := range m.slots.Waiting() {
		ev.Held = append(ev.Held, Held{Attempt: a, Waiting: true})
	}
	m.out = append(m.out, ev)
}

// cut loses the link and what is on its way.
func (m *machine) cut() { m.connected, m.in, m.out = false, nil, nil }

// obey lets a machine take the next thing that the head said.
func (w *world) obey(m *machine) {
	if len(m.in) == 0 {
		return
	}
	a := m.in[0]
	m.in = m.in[1:]
	switch a := a.(type) {
	case Start:
		for _, at := range a.Attempts {
			m.slots.Add(at)
		}
	case Forget:
		m.unacked = slices.DeleteFunc(m.unacked, func(r Result) bool { return slices.Contains(a.Keys, r.Key()) })
	case Kill:
		for _, k := range a.Keys {
			w.giveBack(m, k, true)
		}
	case Recall:
		for _, k := range a.Keys {
			w.giveBack(m, k, false)
		}
	}
	w.run(m)
}

// giveBack answers a Kill or a Recall.
func (w *world) giveBack(m *machine, k Key, kill bool) {
	waits, runs := find(m.slots.Waiting(), k) >= 0, find(m.slots.Running(), k) >= 0
	switch {
	case waits:
		m.slots.Remove(k)
		m.say(Rejected{Node: m.name, Keys: []Key{k}, Reason: "asked to"})
	case runs && kill && m.member(k):
		m.slots.Remove(k)
		m.say(Rejected{Node: m.name, Keys: []Key{k}, Reason: "its share is given up"})
		w.run(m)
	case runs && kill:
		w.finish(m, k, host.Exit{Code: -1, Signal: "SIGKILL"})
	case runs:
		w.seen["late recall"]++
		m.say(Started{Node: m.name, Keys: []Key{k}})
	}
}

// member reports whether an attempt is a share of an allocation that another machine leads.
func (m *machine) member(k Key) bool {
	i := find(m.slots.Running(), k)
	return i >= 0 && m.slots.Running()[i].Member
}

func (m *machine) say(ev Event) {
	if m.connected {
		m.out = append(m.out, ev)
	}
}

// run starts what may start, and checks that no attempt does twice and nothing is over-committed.
func (w *world) run(m *machine) {
	for _, a := range m.slots.Start() {
		run := a.Key.String()
		if a.Member {
			run += " " + m.name
		}
		if w.executed[run] {
			w.t.Fatalf("%s ran twice", run)
		}
		if w.accepted[a.Job] == 0 {
			w.t.Fatalf("%s ran and its job was not on disk", a.Key)
		}
		w.executed[run] = true
	}
	cpus, memory, cams := 0, int64(0), 0
	for _, a := range m.slots.Running() {
		cpus, memory, cams = cpus+a.CPUs, memory+a.Memory, cams+a.Gres["camera"].Take
	}
	if cams > cameras[m.name] {
		w.t.Fatalf("%s runs work for %d cameras", m.name, cams)
	}
	if cpus > m.slots.Cores || memory > m.slots.Memory {
		w.t.Fatalf("%s runs work for %d cores and %d bytes", m.name, cpus, memory)
	}
}

func (w *world) finish(m *machine, k Key, exit host.Exit) {
	exit.Wall = time.Duration(k.Job%3) * 700 * time.Millisecond
	r := Result{Job: k.Job, Index: k.Index, Attempt: k.Attempt, Node: m.name, Started: w.now, Ended: w.now, Exit: exit}
	w.outcome[k] = exit.OK()
	m.slots.Remove(k)
	m.unacked = append(m.unacked, r)
	m.say(Ended{Node: m.name, Results: []Result{r}})
	w.run(m)
}

// finishOne ends something that runs on the machine.
func (w *world) finishOne(m *machine, failRate int) {
	list := slices.DeleteFunc(slices.Clone(m.slots.Running()), func(a Attempt) bool { return a.Member })
	if len(list) > 0 {
		exit := host.Exit{}
		if w.rnd.IntN(100) < failRate {
			exit.Code = 1
		}
		w.finish(m, list[w.rnd.IntN(len(list))].Key, exit)
	}
}

// hear lets the head take the next thing that a machine said, now and then twice.
func (w *world) hear(m *machine, twice bool) {
	if len(m.out) == 0 {
		return
	}
	ev := m.out[0]
	if _, result := ev.(Ended); !twice || !result {
		m.out = m.out[1:]
	}
	w.step(ev)
	if _, up := ev.(NodeUp); up {
		w.offer()
	}
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.step(Tick{})
}

// chance lets one random thing happen.
func (w *world) chance() {
	m := w.machines[w.rnd.IntN(len(w.machines))]
	if !m.connected && w.rnd.IntN(20) == 0 {
		w.connect(m)
	}
	switch n := w.rnd.IntN(1000); {
	case n < w.rate:
		w.submit()
	case n < 30: // an idle cluster, to see work move
	case n < 230:
		w.sync(1 + w.rnd.IntN(5))
	case n < 480:
		w.obey(m)
	case n < 700:
		w.hear(m, w.rnd.IntN(10) == 0)
	case n < 880:
		w.finishOne(m, 15)
	case n < 920:
		w.pass(time.Duration(w.rnd.IntN(3000)) * time.Millisecond)
	case n < 928:
		m.cut()
	case n < 932: // power lost: what ran is gone, what had ended is on its disk
		m.cut()
		m.slots.Reset()
	case n < 955:
		w.connect(m)
	case n < 960:
		if !m.connected {
			w.step(NodeSuspect{m.name})
			if w.rnd.IntN(2) == 0 {
				w.step(NodeDown{m.name})
			}
		}
	case n < 964:
		if m.drained = !m.drained; m.drained {
			w.step(Drained{m.name})
		} else {
			w.step(Undrained{m.name})
		}
	case n < 966:
		m.cut()
		w.step(NodeGone{m.name})
		m.drained = false
	case n < 970:
		if w.s.Last() > 0 {
			ev := Cancel{ID: 1 + ID(w.rnd.IntN(int(w.s.Last()))), By: "bob"}
			if w.rnd.IntN(2) == 0 {
				ev.Index = new(3 * (1 + w.rnd.IntN(20)))
			}
			w.step(ev)
		}
	case n < 973:
		if w.s.Last() > 0 {
			id := ID(1 + w.rnd.IntN(int(w.s.Last())))
			switch w.rnd.IntN(3) {
			case 0:
				w.step(Hold{ID: id, By: "bob", On: w.rnd.IntN(2) == 0})
			case 1:
				w.step(Requeue{ID: id})
			case 2:
				w.step(Alter{ID: id, Set: Alteration{Nice: new(w.rnd.IntN(100) - 50), Timeout: new(time.Duration(w.rnd.IntN(3)) * time.Hour)}})
			}
		}
	case n < 976:
		w.compare()
	case n < 976+w.crashes:
		w.crash()
	}
}

// settle lets nothing go wrong any more until all is done.
func (w *world) settle() {
	for _, m := range w.machines {
		w.step(Undrained{m.name})
		w.connect(m)
	}
	for id := range w.s.Last() {
		w.step(Hold{ID: id + 1})
	}
	for range 5000 {
		w.sync(len(w.journal))
		for _, m := range w.machines {
			for len(m.in) > 0 {
				w.obey(m)
			}
			for len(m.out) > 0 {
				w.hear(m, false)
			}
			w.finishOne(m, 0)
		}
		w.pass(100 * time.Millisecond)
		if len(w.s.List(ListRequest{Open: true})) == 0 && len(w.parked) == 0 && !slices.ContainsFunc(w.machines, func(m *machine) bool { return len(m.in)+len(m.out) > 0 }) {
			w.sync(len(w.journal))
			return
		}
	}
	for _, m := range w.machines {
		n := w.s.nodes[m.name]
		w.t.Logf("%s holds %v and %v, the head says %v and %v; link %v, drained %v, paused %v, held %v", m.name, m.slots.Running(), m.slots.Waiting(),
			n.slots.Running(), n.slots.Waiting(), n.link, n.drained, n.paused, w.s.index.isHeld(n))
	}
	w.t.Fatal("jobs never end")
}

// judge compares what the head says with what happened.
func (w *world) judge() {
	w.compare()
	for id, tasks := range w.accepted {
		sum, ok := w.s.Job(id)
		if !ok || sum.Counts.Done+sum.Counts.Failed+sum.Counts.Cancelled != tasks {
			w.t.Fatalf("job %d of %d tasks ended as %+v", id, tasks, sum.Counts)
		}
		array, _ := ParseArray(sum.Spec.Array)
		for index := range array.All() {
			state, _ := w.s.TaskState(id, index)
			k, final := w.final[Key{Job: id, Index: index}]
			switch {
			case state == Failed && !final && sum.Spec.NoRequeue: // its node was lost
			case state == Done && (!final || !w.outcome[k]), state == Failed && (!final || w.outcome[k]), state == Cancelled && w.outcome[k]:
				w.t.Fatalf("task %d of job %d is %s; its final attempt was %v (well: %v)", index, id, state, k, w.outcome[k])
			}
		}
	}
	for _, m := range w.machines {
		if load := w.s.Load(m.name); load.Running+load.Waiting > 0 || len(m.slots.Running())+len(m.slots.Waiting()) > 0 {
			w.t.Fatalf("%s still holds work: %+v", m.name, load)
		}
	}
}

func runModel(t *testing.T, seed uint64, steps int) *world {
	w := newWorld(t, seed)
	for range steps {
		w.chance()
	}
	w.settle()
	w.judge()
	return w
}

func TestModel(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for what, n := range runModel(t, seed, 4000).seen {
				seen[what] += n
			}
		})
	}
	for _, what := range []string{
		"job.Start", "job.Forget", "job.Kill", "job.Recall", "job.Moved", "job.JobEnded", "job.WakeAt", "crash", "late recall",
	} {
		if seen[what] < 5 {
			t.Errorf("%s was seen %d times only: the model doesn't test it", what, seen[what])
		}
	}
	t.Logf("seen: %v", seen)
}

// From the same events come the same actions, whatever order maps have.
func TestModelIsDeterministic(t *testing.T) {
	sum := func() uint64 {
		h := fnv.New64()
		for _, line := range runModel(t, 99, 2000).log {
			fmt.Fprintln(h, line)
		}
		return h.Sum64()
	}
	if a, b := sum(), sum(); a != b {
		t.Error("two runs of one seed differ")
	}
}
