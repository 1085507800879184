package artefact

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"time"

	"bramble/fleet"
	"bramble/sorts"
)

// Spread is files on their way to nodes, or that lately were.
type Spread struct {
	ID    int64      `json:"id"` // grows; counts from the head's start
	Kind  SpreadKind `json:"kind"`
	What  string     `json:"what"`           // where it goes, or the name that it has
	User  string     `json:"user,omitempty"` // who asked; "": the cluster itself
	Bytes int64      `json:"bytes"`          // of the whole tree; 0 while who asked still uploads it
	Began time.Time  `json:"began"`
	Ended time.Time  `json:"ended,omitzero"`
	Error string     `json:"error,omitempty"` // why it could not be done as a whole
	Done  int64      `json:"done"`            // bytes that have come, of all nodes
	Total int64      `json:"total"`           // bytes that are wanted, of all nodes that have begun
	Rate  float64    `json:"rate,omitempty"`  // bytes a second, lately, of all nodes
	Left  float64    `json:"left,omitempty"`  // seconds that the slowest node takes yet, at this pace; 0: not known
	Whole int        `json:"whole"`           // nodes that have all of it
	More  int        `json:"more,omitempty"`  // nodes that are not among Nodes, being too many
	Nodes []Leg      `json:"nodes"`           // once it has ended, those that failed

	of    string // of one that nodes report by themselves: what, and which tree
	shown bool   // somebody was chosen, or something moves: until then it is nobody's news
	at    map[string]int
}

// State is running, done, or failed, which it is when a single node failed.
func (s Spread) State() string {
	switch {
	case s.Ended.IsZero():
		return "running"
	case s.Error != "" || len(s.Failures()) > 0:
		return "failed"
	}
	return "done"
}

// Of is how many nodes were to have it.
func (s Spread) Of() int {
	if s.Ended.IsZero() {
		return len(s.Nodes) + s.More
	}
	return s.Whole + len(s.Failures())
}

// Failures are the nodes that failed.
func (s Spread) Failures() (names []string) {
	for _, l := range s.Nodes {
		if l.Error != "" {
			names = append(names, l.Node)
		}
	}
	return names
}

// Reason is why nodes failed.
type Reason struct {
	Error, Try string
	Nodes      []string
}

// Reasons puts nodes together that failed alike, in the order in which the reasons first come.
func (s Spread) Reasons() (all []Reason) {
	for _, l := range s.Nodes {
		if l.Error == "" {
			continue
		}
		i := slices.IndexFunc(all, func(r Reason) bool { return r.Error == l.Error && r.Try == l.Try })
		if i < 0 {
			i, all = len(all), append(all, Reason{Error: l.Error, Try: l.Try})
		}
		all[i].Nodes = append(all[i].Nodes, l.Node)
	}
	return all
}

// SpreadKind is what makes a tree travel.
type SpreadKind string

const (
	SpreadPush SpreadKind = "push" // somebody's files go to a place on nodes
	SpreadPull SpreadKind = "pull" // files of nodes come to somebody
	SpreadPut  SpreadKind = "put"  // copies are made of what shall be kept
	SpreadMend SpreadKind = "mend" // copies of what is kept are made anew
	SpreadSite SpreadKind = "site" // a release of a site is made ready
	SpreadJob  SpreadKind = "job"  // what tasks read comes to their nodes
)

// Leg is one node's part of a Spread.
type Leg struct {
	Node   string    `json:"node"`
	Step   string    `json:"step,omitempty"` // what it does now; "": it waits
	Done   int64     `json:"done"`           // bytes that have come
	Total  int64     `json:"total"`
	Placed int64     `json:"placed,omitempty"` // bytes of them that are in their places
	Rate   float64   `json:"rate,omitempty"`   // bytes a second, lately
	Left   float64   `json:"left,omitempty"`   // seconds at this pace; 0: not known
	Ended  time.Time `json:"ended,omitzero"`
	Error  string    `json:"error,omitempty"` // why it failed
	Try    string    `json:"try,omitempty"`

	marks [2]mark // a second apart or more, the older first
	heard time.Time
}

// mark is how far a node was at a time.
type mark struct {
	at   time.Time
	done int64
}

// Limits of the book of spreads.
const (
	maxRunning = 256
	maxComing  = 64 // of those that nodes report by themselves
	maxEnded   = 30
	maxLegs    = 1024 // of one spread, as many as fit a message
	endedFor   = time.Hour
	markEvery  = time.Second
	quietFor   = time.Minute     // after which a node that reports by itself counts as gone
	lingerFor  = 5 * time.Second // that others may begin with the same after the last has ended
)

// book is what is on its way, the latest last, and what lately was.
type book struct {
	next           int64
	running, ended []*Spread
}

// begin takes a spread in; nil when there are too many.
func (b *book) begin(kind SpreadKind, what, user string, now time.Time) *Spread {
	if len(b.running) >= maxRunning {
		return nil
	}
	b.next++
	s := &Spread{ID: b.next, Kind: kind, What: what, User: user, Began: now, at: map[string]int{}}
	b.running = append(b.running, s)
	return s
}

// hear takes in what a node reports by itself.
func (b *book) hear(node string, c coming, now time.Time) {
	if len(c.For) > 4*MaxName || !c.Ref.Valid() {
		return
	}
	kind, what, _ := strings.Cut(c.For, "-")
	if kind != string(SpreadSite) && kind != string(SpreadJob) {
		return // nobody else has nodes bring trees
	}
	of := c.For + " " + string(c.Ref)
	i := slices.IndexFunc(b.running, func(s *Spread) bool { return s.of == of })
	if i < 0 {
		if b.coming() >= maxComing || b.begin(SpreadKind(kind), clip(what), "", now) == nil {
			return
		}
		i = len(b.running) - 1
		b.running[i].of = of
	}
	s := b.running[i]
	s.Bytes = max(s.Bytes, c.Total)
	s.note(Event{Kind: Moving, Node: node, Step: Fetching, Done: c.Done, Total: c.Total}, now)
	if c.End != nil {
		s.note(Event{Kind: Ended, Node: node, End: c.End}, now)
	}
}

// coming is how many spreads are known from nodes' own reports.
func (b *book) coming() (n int) {
	for _, s := range b.running {
		if s.of != "" {
			n++
		}
	}
	return n
}

// over ends what nodes report by themselves once all have ended, or said nothing for long.
func (b *book) over(now time.Time) {
	for _, s := range slices.Clone(b.running) {
		if s.of == "" {
			continue
		}
		last, open := s.Began, false
		for i := range s.Nodes {
			l := &s.Nodes[i]
			if l.Ended.IsZero() && now.Sub(l.heard) > quietFor {
				l.end(*silent(io.EOF), now)
			}
			last, open = latest(last, l.heard), open || l.Ended.IsZero()
		}
		if !open && now.Sub(last) > lingerFor {
			b.end(s, "", last)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// end moves a spread to those that have ended, unless nothing was to be told of it.
func (b *book) end(s *Spread, problem string, now time.Time) {
	i := slices.Index(b.running, s)
	if i < 0 {
		return
	}
	b.running = slices.Delete(b.running, i, i+1)
	if !s.shown {
		return
	}
	s.end(problem, now)
	b.ended = append(b.ended, s)
	b.age(now)
}

// age forgets what ended long ago.
func (b *book) age(now time.Time) {
	b.ended = b.ended[max(0, len(b.ended)-maxEnded):]
	for len(b.ended) > 0 && now.Sub(b.ended[0].Ended) > endedFor {
		b.ended = b.ended[1:]
	}
}

// list is what people are told: what is on its way, the latest first, and then what was.
func (b *book) list(now time.Time) (all []Spread) {
	b.over(now)
	b.age(now)
	for _, part := range [][]*Spread{b.running, b.ended} {
		for _, s := range slices.Backward(part) {
			if s.shown {
				all = append(all, s.view(now))
			}
		}
	}
	return all
}

// note takes in what a spread reports.
func (s *Spread) note(ev Event, now time.Time) {
	switch ev.Kind {
	case Chosen:
		for _, name := range ev.Names {
			if s.shown = true; s.leg(name) == nil {
				s.More++
			}
		}
	case Moving:
		s.shown = s.shown || ev.Done < ev.Total
		if l := s.leg(ev.Node); l != nil {
			l.move(ev, now)
		}
	case Ended:
		if l := s.leg(ev.Node); l != nil && ev.End != nil {
			l.end(*ev.End, now)
		}
	}
}

// leg is a node's part, which begins when it is first named; nil where there are too many.
func (s *Spread) leg(node string) *Leg {
	i, known := s.at[node]
	switch {
	case known:
	case len(s.Nodes) >= maxLegs:
		return nil
	default:
		i = len(s.Nodes)
		s.at[node] = i
		s.Nodes = append(s.Nodes, Leg{Node: node})
	}
	return &s.Nodes[i]
}

func (l *Leg) move(ev Event, now time.Time) {
	ev.Total = max(0, ev.Total)
	ev.Done = min(max(0, ev.Done), ev.Total)
	l.Step, l.heard, l.Ended, l.Error, l.Try = ev.Step, now, time.Time{}, "", "" // who failed may be asked again
	if ev.Step == Placing {
		l.Placed = ev.Done
		return
	}
	l.Done, l.Total = ev.Done, ev.Total
	if l.marks[0].at.IsZero() {
		l.marks = [2]mark{{now, ev.Done}, {now, ev.Done}}
	}
	if now.Sub(l.marks[1].at) >= markEvery {
		l.marks = [2]mark{l.marks[1], {now, ev.Done}}
	}
}

func (l *Leg) end(end End, now time.Time) {
	l.Step, l.Ended, l.Error, l.Try = "", now, brief(end.Error), brief(end.Try)
	if end.OK() {
		l.Done, l.Total = max(l.Total, l.Done), max(l.Total, l.Done)
		l.Placed = l.Total
	} else if l.Error == "" {
		l.Error = string(end.Code)
	}
}

// brief is as much of a text as the book remembers.
func brief(text string) string { return strings.ToValidUTF8(text[:min(len(text), 300)], "") }

// pace is how fast a node receives, and how long it will take at that: both fall when nothing comes any more.
func (l *Leg) pace(now time.Time) (rate, left float64) {
	took := now.Sub(l.marks[0].at).Seconds()
	if !l.Ended.IsZero() || l.marks[0].at.IsZero() || took < markEvery.Seconds()/2 || l.Step == Placing {
		return 0, 0
	}
	if rate = float64(l.Done-l.marks[0].done) / took; rate > 0 {
		left = float64(l.Total-l.Done) / rate
	}
	return max(0, rate), left
}

// view is a copy for people: with rates and sums as of now, its nodes in their order.
func (s *Spread) view(now time.Time) Spread {
	if !s.Ended.IsZero() {
		return *s
	}
	v := *s
	v.Nodes = slices.Clone(s.Nodes)
	for i := range v.Nodes {
		l := &v.Nodes[i]
		l.Rate, l.Left = l.pace(now)
		if l.Error == "" && !l.Ended.IsZero() {
			v.Whole++
		}
		if l.Error == "" {
			v.Done, v.Total, v.Rate, v.Left = v.Done+l.Done, v.Total+l.Total, v.Rate+l.Rate, max(v.Left, l.Left)
		}
	}
	sorts.By(v.Nodes, func(a, b Leg) int {
		return cmp.Or(fleet.NaturalCompare(a.Node, b.Node), cmp.Compare(a.Node, b.Node))
	})
	return v
}

// end keeps of a spread its sums and the nodes that failed.
func (s *Spread) end(problem string, now time.Time) {
	for i := range s.Nodes {
		if l := &s.Nodes[i]; l.Ended.IsZero() {
			l.Ended, l.Error = now, cmp.Or(problem, "it did not get that far")
		}
	}
	v := s.view(now)
	v.Nodes = slices.DeleteFunc(v.Nodes, func(l Leg) bool { return l.Error == "" })
	v.Ended, v.Error, v.at = now, problem, nil
	*s = v
}
