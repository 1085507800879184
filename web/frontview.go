package web

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"bramble/event"
	"bramble/front"
	"bramble/trust"
)

// frontsView is the Fronts page.
type frontsView struct {
	Fronts []frontView
	At     time.Time     // when it was so
	Events []event.Event // who changed what, the newest first
	Live   string        // where more of them come from
}

// frontView is a front, as all of its nodes see it.
type frontView struct {
	front.Front
	State     string // class
	Standing  string
	Requests  int64 // of visitors
	Rate      string
	Open      int64 // connections
	Nodes     []doorRow
	Pools     []poolView
	Names     []nameRow
	MayChange bool
	Only      string // from where members are changed, for who is elsewhere and else could
}

// doorRow is a node where visitors come in.
type doorRow struct {
	front.OnNode
	Word, Class string
	Links       []siteLink
}

// nameRow is a name with a certificate by ACME.
type nameRow struct {
	front.Certified
	Word, Class string
}

// poolView is who answers for a host and the paths below one.
type poolView struct {
	For     string
	Members []*memberRow
	More    int // that are left out
}

// memberRow is a member, with what it did for visitors of all nodes.
type memberRow struct {
	front.Standing
	ID          string
	Word, Class string
	Why         []string
	Rate        string // requests a second; "" while that is not known
	Bar         progress
	Acts        []act
	Open        bool // to be changed

	Percent float64

	words []string // at each node
	nodes []string
}

// act is a mode that a member may be given.
type act struct {
	Mode       front.Mode
	Name, Text string
}

var acts = []act{
	{front.Enabled, "Enable", "Visitors go to it."},
	{front.Draining, "Drain", "Only visitors whose cookie names it go to it."},
	{front.Disabled, "Disable", "Nobody goes to it; what is under way ends by itself."},
	{front.Stopped, "Stop", "Nobody goes to it, and what is under way is broken off."},
}

const mostMembers = 200 // of a pool that are shown

// onlooker is who looks at fronts.
type onlooker struct {
	role trust.Role
	at   netip.Addr
	open string // the row of the member that is to be changed
}

// memberClass is the class of a member's state.
func memberClass(word string) string {
	switch word {
	case "up":
		return "done"
	case "down":
		return "failed"
	case string(front.Disabled), string(front.Stopped):
		return "cancelled"
	case "new", string(front.Spare), string(front.Standby):
		return "pending"
	}
	return "suspect"
}

// nameClass is the class of how a name stands.
func nameClass(word string) string {
	switch word {
	case "certified":
		return "done"
	case "asked for":
		return "pending"
	case "not renewed":
		return "suspect"
	}
	return "failed"
}

// namesOf are a front's names as they stand at a moment.
func namesOf(st front.Status, now time.Time) (rows []nameRow) {
	for _, c := range st.Certified {
		word := c.Word(now)
		rows = append(rows, nameRow{c, word, nameClass(word)})
	}
	return rows
}

// frontViewOf sums up what a front's nodes say at a moment.
func frontViewOf(st front.Status, now time.Time, who onlooker) frontView {
	v := frontView{Front: st.Front, State: "done", MayChange: who.role.Includes(trust.Operator)}
	if v.MayChange && !st.Front.ManagedFrom(who.at) {
		v.MayChange, v.Only = false, networks(st.Front.Manager)
	}
	for _, n := range st.Nodes {
		row := doorRow{OnNode: n, Word: n.Word(), Class: "failed"}
		switch row.Word {
		case "up":
			row.Class = "done"
		case "changing":
			row.Class = "running"
		default:
			v.State = "suspect"
		}
		for _, at := range n.URLs() {
			row.Links = append(row.Links, doorLink(at))
		}
		v.Nodes, v.Open, v.Requests = append(v.Nodes, row), v.Open+n.Count.Open, v.Requests+n.Count.Requests
	}
	v.Names = namesOf(st, now)
	bad := 0
	for _, r := range v.Names {
		if r.Class == "failed" {
			bad++
			v.State = "suspect"
		}
	}
	all, serving := 0, 0
	for _, p := range poolsOf(st) {
		for i, m := range p.Members {
			m.finish(st.Front)
			m.Open = m.ID == who.open
			all++
			if m.Share > 0 {
				serving++
			}
			if slices.Contains(m.words, "down") {
				v.State = "suspect"
			}
			if i == mostMembers {
				p.More = len(p.Members) - mostMembers
			}
		}
		p.Members = p.Members[:len(p.Members)-p.More]
		v.Pools = append(v.Pools, p)
	}
	if v.Standing = fmt.Sprintf("%d of %s may get visitors", serving, count(all, "member")); serving == 0 {
		v.State = "failed"
	}
	if bad > 0 {
		v.Standing += fmt.Sprintf(", %d of %s certified", len(v.Names)-bad, count(len(v.Names), "name"))
	}
	return v
}

// doorLink is a link to where a node says that visitors come in; as a node may say what it likes, only one with an address is one.
func doorLink(at string) siteLink {
	link := siteLink{Text: strings.TrimSuffix(at, "/")}
	u, err := url.Parse(at)
	if err != nil {
		return link
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		link.URL = at
	}
	return link
}

// poolsOf are the pools that a front's nodes have, each with the sum of what its members do for them.
func poolsOf(st front.Status) (pools []poolView) {
	rows := map[string]*memberRow{}
	for _, n := range st.Nodes {
		for _, p := range n.Pools {
			at := slices.IndexFunc(pools, func(v poolView) bool { return v.For == p.For() })
			if at < 0 {
				at, pools = len(pools), append(pools, poolView{For: p.For()})
			}
			for _, m := range p.Members {
				id := strings.Join([]string{"m", st.Front.Name, p.For(), m.Name, m.Address.String()}, "_")
				row := rows[id]
				if row == nil {
					row = &memberRow{Standing: front.Standing{Member: m.Member}, ID: id}
					rows[id], pools[at].Members = row, append(pools[at].Members, row)
				}
				row.add(n.Node, m)
			}
		}
	}
	return pools
}

// add takes in what a member does for a node's visitors.
func (r *memberRow) add(node string, m front.Standing) {
	r.words, r.nodes = append(r.words, m.Word()), append(r.nodes, node)
	if m.Health.Down && m.Health.Why != "" {
		r.Why = append(r.Why, m.Health.Why+", as "+node+" sees it")
	}
	n := float64(len(r.nodes))
	r.Share += (m.Share - r.Share) / n
	if asked := r.Requests + m.Requests; asked > 0 {
		r.Latency += time.Duration(float64(m.Latency-r.Latency) * float64(m.Requests) / float64(asked))
	}
	r.Busy, r.Requests, r.Failures, r.Bytes = r.Busy+m.Busy, r.Requests+m.Requests, r.Failures+m.Failures, r.Bytes+m.Bytes
}

// finish says in words what was summed up.
func (r *memberRow) finish(f front.Front) {
	r.Word, r.Class = r.state()
	if set := f.Changed[r.Name].Mode; r.Mode == front.Draining && (set == nil || *set != front.Draining) {
		r.Why = append(r.Why, "the node itself is drained, until bramble undrain "+r.Name)
	}
	r.Percent = 100 * r.Share
	r.Bar = progress{Text: fmt.Sprintf("%.0f %% of new requests", r.Percent), Parts: []part{{"running", 0, 1000 * r.Share}}}
	for _, a := range acts {
		if a.Mode != r.Mode {
			r.Acts = append(r.Acts, a)
		}
	}
}

// state is how a member does, and its class; where nodes differ, each has its say.
func (r *memberRow) state() (word, class string) {
	word = r.words[0]
	if !slices.ContainsFunc(r.words, func(other string) bool { return other != word }) {
		return word, memberClass(word)
	}
	all := make([]string, len(r.words))
	for i, w := range r.words {
		all[i] = w + " at " + r.nodes[i]
	}
	return strings.Join(all, ", "), "suspect"
}

// pace says how fast requests come, by an earlier look.
func (v *frontsView) pace(before frontsView) {
	took := v.At.Sub(before.At).Seconds()
	if before.At.IsZero() || took <= 0 {
		return
	}
	was := map[string]int64{}
	for _, f := range before.Fronts {
		was[f.Name] = f.Requests
		for _, p := range f.Pools {
			for _, m := range p.Members {
				was[m.ID] = m.Requests
			}
		}
	}
	rate := func(id string, now int64) string {
		if before, known := was[id]; known && now >= before { // less: it began anew
			return brief(float64(now-before) / took)
		}
		return ""
	}
	for i := range v.Fronts {
		f := &v.Fronts[i]
		f.Rate = rate(f.Name, f.Requests)
		for _, p := range f.Pools {
			for _, m := range p.Members {
				m.Rate = rate(m.ID, m.Requests)
			}
		}
	}
}

// brief is a number for people: of small ones with a decimal.
func brief(n float64) string {
	if n > 0 && n < 10 {
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

func networks(list []netip.Prefix) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ", ")
}
