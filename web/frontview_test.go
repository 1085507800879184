package web

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"bramble/fleet"
	"bramble/front"
	"bramble/trust"
)

// seen is a front with one member, as nodes see it.
func seen(changed map[string]front.Setting, members ...front.Standing) front.Status {
	st := front.Status{Front: front.Front{Name: "shop", Changed: changed}}
	for i, m := range members {
		m.Name = "anna"
		if m.Health.Since.IsZero() {
			m.Health.Since = time.Unix(1, 0)
		}
		st.Nodes = append(st.Nodes, front.OnNode{Node: "node" + string(rune('1'+i)), State: fleet.Up, Current: true,
			Carried: front.Carried{Count: front.Counts{Open: 1, Requests: 10}, Pools: []front.PoolStanding{{Members: []front.Standing{m}}}}})
	}
	return st
}

func TestFrontView(t *testing.T) {
	drain := front.Draining
	up := front.Standing{Share: 1, Requests: 10, Latency: time.Second}
	down := front.Standing{Health: front.Health{Down: true, Why: "no answer"}}
	drained := front.Standing{Member: front.Member{Mode: front.Draining}}
	for name, c := range map[string]struct {
		st                            front.Status
		class, word, whole, why, acts string
	}{
		"up":                          {seen(nil, up), "done", "up", "done", "", "Drain Disable Stop"},
		"up everywhere":               {seen(nil, up, up), "done", "up", "done", "", "Drain Disable Stop"},
		"down":                        {seen(nil, down), "failed", "down", "failed", "no answer, as node1 sees it", "Drain Disable Stop"},
		"down from one of two":        {seen(nil, up, down), "suspect", "up at node1, down at node2", "suspect", "no answer, as node2 sees it", "Drain Disable Stop"},
		"drained by somebody":         {seen(map[string]front.Setting{"anna": {Mode: &drain}}, drained), "suspect", "drained", "failed", "", "Enable Disable Stop"},
		"drained because its node is": {seen(nil, drained), "suspect", "drained", "failed", "the node itself is drained, until bramble undrain anna", "Enable Disable Stop"},
		"nobody knows yet":            {seen(nil), "", "", "failed", "", ""},
	} {
		v := frontViewOf(c.st, time.Now(), onlooker{role: trust.Operator})
		m := memberRow{}
		if len(v.Pools) > 0 {
			m = *v.Pools[0].Members[0]
		}
		var names []string
		for _, a := range m.Acts {
			names = append(names, a.Name)
		}
		if m.Class != c.class || m.Word != c.word || v.State != c.whole || strings.Join(m.Why, "; ") != c.why || strings.Join(names, " ") != c.acts || !v.MayChange {
			t.Errorf("%s: %s, %q, %s, %q, %v", name, m.Class, m.Word, v.State, m.Why, names)
		}
	}
}

func TestFrontViewSums(t *testing.T) {
	v := frontViewOf(seen(nil, front.Standing{Share: 1, Busy: 1, Requests: 30, Failures: 2, Bytes: 5, Latency: time.Second},
		front.Standing{Share: 0.5, Busy: 2, Requests: 10, Failures: 3, Bytes: 7, Latency: 5 * time.Second}), time.Now(), onlooker{role: trust.Viewer})
	m := v.Pools[0].Members[0]
	if m.Percent != 75 || m.Busy != 3 || m.Requests != 40 || m.Failures != 5 || m.Bytes != 12 || m.Latency != 2*time.Second || v.Open != 2 || v.Requests != 20 {
		t.Errorf("%+v, %+v", *m, v)
	}
	if v.MayChange || v.Only != "" {
		t.Error("a viewer may change it")
	}
	far := seen(nil, front.Standing{})
	far.Front.Manager = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for at, may := range map[string]bool{"10.1.1.1": true, "127.0.0.1": false} {
		if v := frontViewOf(far, time.Now(), onlooker{role: trust.Admin, at: netip.MustParseAddr(at)}); v.MayChange != may || (v.Only == "") != may {
			t.Errorf("%s: %v, %q", at, v.MayChange, v.Only)
		}
	}
	many := seen(nil, front.Standing{})
	one := many.Nodes[0].Pools[0].Members[0]
	for i := range mostMembers + 4 {
		one.Address = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i+1))
		many.Nodes[0].Pools[0].Members = append(many.Nodes[0].Pools[0].Members, one)
	}
	if p := frontViewOf(many, time.Now(), onlooker{}).Pools[0]; len(p.Members) != mostMembers || p.More != 5 {
		t.Errorf("%d members, and %d more", len(p.Members), p.More)
	}
}

// A name that visitors cannot be shown a certificate of is a front's trouble; one that is asked for or renewed late is not yet.
func TestFrontViewNames(t *testing.T) {
	now := time.Unix(1e9, 0)
	until := now.Add(time.Hour)
	for name, c := range map[string]struct {
		front.Certified
		word, class, whole, says string
	}{
		"new":         {front.Certified{}, "asked for", "pending", "done", ""},
		"certified":   {front.Certified{Until: until}, "certified", "done", "done", ""},
		"not renewed": {front.Certified{Until: until, Why: "no"}, "not renewed", "suspect", "done", ""},
		"refused":     {front.Certified{Why: "no"}, "not certified", "failed", "suspect", ", 1 of 2 names certified"},
		"run out":     {front.Certified{Until: now}, "run out", "failed", "suspect", ", 1 of 2 names certified"},
	} {
		st := seen(nil, front.Standing{Share: 1})
		st.Certified = []front.Certified{c.Certified, {Until: until}}
		v := frontViewOf(st, now, onlooker{})
		if r := v.Names[0]; r.Word != c.word || r.Class != c.class || v.State != c.whole || v.Standing != "1 of 1 member may get visitors"+c.says {
			t.Errorf("%s: %s, %s, the front %s: %s", name, r.Word, r.Class, v.State, v.Standing)
		}
	}
}

func TestFrontPace(t *testing.T) {
	look := func(at int64, requests ...int64) frontsView {
		var members []front.Standing
		for _, n := range requests {
			members = append(members, front.Standing{Requests: n})
		}
		return frontLook{time.Unix(at, 0), []front.Status{seen(nil, members...)}}.view(onlooker{})
	}
	for name, c := range map[string]struct {
		before, now frontsView
		want        string
	}{
		"never before":   {frontsView{}, look(5, 100), ""},
		"the same look":  {look(5, 100), look(5, 100), ""},
		"in four s":      {look(1, 100), look(5, 300), "50"},
		"slowly":         {look(1, 100), look(5, 102), "0.5"},
		"nothing":        {look(1, 100), look(5, 100), "0"},
		"begun anew":     {look(1, 100), look(5, 10), ""},
		"of two nodes":   {look(1, 100, 100), look(5, 120, 140), "15"},
		"another member": {frontLook{time.Unix(1, 0), nil}.view(onlooker{}), look(5, 300), ""},
	} {
		c.now.pace(c.before)
		if got := c.now.Fronts[0].Pools[0].Members[0].Rate; got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
