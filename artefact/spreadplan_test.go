package artefact

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"bramble/fault"
)

// TestBookOfSpreads plays what a push reports, and looks at what people are told.
func TestBookOfSpreads(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var b book
	s := b.begin(SpreadPush, "/srv", "ann", now)
	if list := b.list(now); len(list) != 0 {
		t.Fatalf("told of before anybody was chosen: %+v", list)
	}
	s.note(Event{Kind: Chosen, Names: []string{"n10", "n2", "n1"}}, now)
	move := func(node, step string, done, total int64) {
		s.note(Event{Kind: Moving, Node: node, Step: step, Done: done, Total: total}, now)
	}
	for i := range int64(5) {
		move("n1", Fetching, 100*i, 1000)
		move("n2", Fetching, 50*i, 1000)
		now = now.Add(time.Second)
	}
	v := b.list(now)[0]
	var names []string
	for _, l := range v.Nodes {
		names = append(names, l.Node)
	}
	if !slices.Equal(names, []string{"n1", "n2", "n10"}) {
		t.Errorf("nodes are in the order %v", names)
	}
	n1, n2, n10 := v.Nodes[0], v.Nodes[1], v.Nodes[2]
	if n1.Rate != 50 || n2.Rate != 25 || n1.Left != 12 || n2.Left != 32 || n10.Step != "" || n10.Total != 0 {
		t.Errorf("%+v", v.Nodes) // 100 bytes in the second before the last report, and none in the one since
	}
	if v.Done != 600 || v.Total != 2000 || v.Rate != 75 || v.Left != 32 || v.Whole != 0 {
		t.Errorf("%+v", v)
	}
	if stuck := b.list(now.Add(8 * time.Second))[0]; stuck.Rate != 15 {
		t.Errorf("nothing has come for a while, at %v", stuck.Rate)
	}

	move("n1", Placing, 300, 1000)
	if v := b.list(now)[0]; v.Nodes[0].Placed != 300 || v.Nodes[0].Done != 400 || v.Nodes[0].Rate != 0 || v.Nodes[0].Step != Placing {
		t.Errorf("%+v", v.Nodes[0])
	}
	s.note(Event{Kind: Ended, Node: "n1", End: &End{}}, now)
	s.note(Event{Kind: Ended, Node: "n2", End: &End{Code: fault.Full, Error: "no room", Try: "rm"}}, now)
	s.note(Event{Kind: Ended, Node: "n10", End: isDown()}, now)
	b.end(s, "", now)
	b.end(s, "twice", now)
	v = b.list(now)[0]
	if v.Whole != 1 || v.Done != 1000 || v.Ended != now || len(v.Nodes) != 2 || v.Nodes[0].Error != "no room" || v.Nodes[0].Try != "rm" || v.Nodes[1].Error != "down" || v.Error != "" {
		t.Errorf("%+v", v)
	}
	if list := b.list(now.Add(endedFor + 1)); len(list) != 0 {
		t.Errorf("still told of: %+v", list)
	}
}

func TestBookForgetsAndIsBounded(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var b book
	for i := range maxRunning + 1 {
		s := b.begin(SpreadPut, "x", "ann", now)
		if (s == nil) != (i == maxRunning) {
			t.Fatalf("spread %d: %v", i, s)
		}
	}
	for _, s := range slices.Clone(b.running) {
		s.note(Event{Kind: Chosen, Names: []string{"n1"}}, now)
		b.end(s, "broken off", now)
	}
	list := b.list(now)
	if len(list) != maxEnded || list[0].ID != maxRunning || list[0].Error != "broken off" || list[0].Nodes[0].Error != "broken off" {
		t.Errorf("%d, %+v", len(list), list[0])
	}

	quiet := b.begin(SpreadMend, "x", "", now) // every node has its share already
	quiet.note(Event{Kind: Moving, Node: "n1", Step: Fetching, Done: 5, Total: 5}, now)
	quiet.note(Event{Kind: Ended, Node: "n1", End: &End{}}, now)
	if len(b.list(now)) != maxEnded {
		t.Error("a mend that moves nothing is news")
	}
	b.end(quiet, "", now)
	if len(b.list(now)) != maxEnded {
		t.Error("a mend that moved nothing is news")
	}

	s := b.begin(SpreadPush, clip(string(make([]byte, 5000))), "ann", now)
	for i := range maxLegs + 5 {
		name := fmt.Sprintf("a-node-with-a-rather-long-name-%d", i)
		s.note(Event{Kind: Chosen, Names: []string{name}}, now)
		s.note(Event{Kind: Moving, Node: name, Step: Fetching, Done: 1 << 40, Total: 1 << 41}, now)
		s.note(Event{Kind: Ended, Node: name, End: &End{Code: fault.Failed, Error: "the disk is full and more of the kind"}}, now)
	}
	v := b.list(now)[0]
	if data, _ := json.Marshal(v); len(v.Nodes) != maxLegs || v.More != 5 || len(data) > 900<<10 {
		t.Errorf("%d nodes, %d more, %d bytes", len(v.Nodes), v.More, len(data))
	}
}

// Who failed and is asked again is at work again.
func TestSpreadTriesAgain(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var b book
	s := b.begin(SpreadPut, "x", "ann", now)
	s.note(Event{Kind: Chosen, Names: []string{"n1"}}, now)
	s.note(Event{Kind: Ended, Node: "n1", End: &End{Code: fault.Failed, Error: "x"}}, now)
	s.note(Event{Kind: Moving, Node: "n1", Step: Fetching, Done: 1, Total: 2}, now)
	if l := b.list(now)[0].Nodes[0]; l.Error != "" || !l.Ended.IsZero() {
		t.Errorf("%+v", l)
	}
}

// TestBookHearsNodes is of what nodes report by themselves: one spread for all that bring the same.
func TestBookHearsNodes(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var b book
	ref := RefOf([]byte("x"))
	b.hear("n1", coming{For: "site-blog", Ref: ref, Done: 1, Total: 4}, now)
	b.hear("n2", coming{For: "site-blog", Ref: ref, Done: -5, Total: 4}, now)
	b.hear("n1", coming{For: "job-7", Ref: ref, Done: 9, Total: 4}, now)
	b.hear("n1", coming{For: "job-7", Ref: "../x", Done: 9, Total: 4}, now)
	for _, kind := range []string{"push-/etc", "mend-album", "anything", ""} {
		b.hear("evil", coming{For: kind, Ref: ref, Done: 1, Total: 4}, now)
	}
	list := b.list(now)
	if len(list) != 1 || list[0].Kind != SpreadSite || list[0].What != "blog" || list[0].Done != 1 || list[0].Total != 8 || list[0].Bytes != 4 {
		t.Fatalf("%+v", list) // the job's has nothing to move
	}
	now = now.Add(time.Second)
	b.hear("n1", coming{For: "site-blog", Ref: ref, Done: 4, Total: 4, End: &End{}}, now)
	now = now.Add(quietFor + lingerFor + time.Second)
	list = b.list(now)
	if len(list) != 1 || len(b.running) != 0 || list[0].Whole != 1 || len(list[0].Nodes) != 1 || list[0].Nodes[0].Error != "stopped reporting" {
		t.Errorf("%+v", list)
	}
	for i := range 3 * maxComing {
		b.hear("evil", coming{For: fmt.Sprint("job-", i), Ref: ref, Total: 4}, now)
	}
	if b.begin(SpreadPush, "/srv", "ann", now) == nil || len(b.running) != maxComing+1 {
		t.Errorf("one node fills the book with %d", len(b.running))
	}
}

// TestSpreadIsOver is of what is reported of a spread that has ended, which changes nothing.
func TestSpreadIsOver(t *testing.T) {
	s := &Spreads{Now: time.Now}
	e := s.begin(SpreadPush, "/srv", "ann")
	e.note(Event{Kind: Chosen, Names: []string{"n1", "n2"}})
	if list := s.list(); list[0].State() != "running" || list[0].Of() != 2 {
		t.Errorf("%+v", list)
	}
	e.note(Event{Kind: Ended, Node: "n1", End: &End{}})
	e.note(Event{Kind: Ended, Node: "n2", End: &End{Code: fault.Full, Error: "no room"}})
	e.end(nil)
	e.note(Event{Kind: Moving, Node: "n3", Done: 1, Total: 2})
	e.end(nil)
	list := s.list()
	if len(list) != 1 || list[0].State() != "failed" || list[0].Of() != 2 || !slices.Equal(list[0].Failures(), []string{"n2"}) {
		t.Errorf("%+v", list)
	}
}
