package site

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"bramble/http1"
	"bramble/metric"
)

// traffic adds up what a node's ports do, those that are closed already included.
type traffic struct {
	mu      sync.Mutex
	servers []*http1.Server
	past    http1.Counts
}

func (t *traffic) enter(s *http1.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.servers = append(t.servers, s)
}

func (t *traffic) leave(s *http1.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.servers = slices.DeleteFunc(t.servers, func(x *http1.Server) bool { return x == s })
	t.past.Add(s.Counts())
}

// counts are of all ports together.
func (t *traffic) counts() http1.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := http1.Counts{}
	sum.Add(t.past)
	for _, s := range t.servers {
		sum.Add(s.Counts())
	}
	return sum
}

// Sent is how many bytes went out to visitors so far.
func (n *Node) Sent() int64 { return n.traffic.counts().Bytes }

// Show shows what visitors ask of this node.
func (n *Node) Show(m *metric.Set) {
	m.Collect("bramble_site_requests_total", "Requests by site and status.", "counter", func(emit metric.Emit) {
		n.each(func(h *hosted) {
			for i := range h.visits.answers {
				if answers := h.visits.answers[i].Load(); answers > 0 {
					emit(float64(answers), "site", h.name, "status", strconv.Itoa(200+i))
				}
			}
		})
	})
	m.Collect("bramble_site_body_bytes_total", "Bytes of bodies that requests were answered with, by site.", "counter", func(emit metric.Emit) {
		n.each(func(h *hosted) { emit(float64(h.visits.bytes.Load()), "site", h.name) })
	})
	m.Collect("bramble_site_lines_lost_total", "Lines of access logs that came faster than they could be written, by site.", "counter", func(emit metric.Emit) {
		n.each(func(h *hosted) {
			h.visits.mu.Lock()
			defer h.visits.mu.Unlock()
			emit(float64(h.visits.lost), "site", h.name)
		})
	})
	counter := func(name, help, kind string, value func(http1.Counts) int64) {
		m.Collect("bramble_site_"+name, help, kind, func(emit metric.Emit) { emit(float64(value(n.traffic.counts()))) })
	}
	counter("connections", "Visitors' open connections.", "gauge", func(c http1.Counts) int64 { return c.Open })
	counter("connections_total", "Visitors' connections that were accepted.", "counter", func(c http1.Counts) int64 { return c.Conns })
	counter("sent_bytes_total", "Bytes that went out to visitors, heads included.", "counter", func(c http1.Counts) int64 { return c.Bytes })
	counter("panics_total", "Requests that could not be answered because of a mistake in bramble.", "counter", func(c http1.Counts) int64 { return c.Panics })
	m.Collect("bramble_site_refused_total", "What visitors sent that is no request, by status and reason.", "counter", func(emit metric.Emit) {
		for why, n := range n.traffic.counts().Refusals {
			emit(float64(n), "status", strconv.Itoa(why.Status), "reason", why.Reason)
		}
	})
}

// each goes through the sites by name.
func (n *Node) each(do func(*hosted)) {
	n.mu.Lock()
	all := make([]*hosted, 0, len(n.hosted))
	for _, h := range n.hosted {
		all = append(all, h)
	}
	n.mu.Unlock()
	slices.SortFunc(all, func(a, b *hosted) int { return strings.Compare(a.name, b.name) })
	for _, h := range all {
		do(h)
	}
}
