package artefact

import (
	"strings"
	"sync"
	"time"

	"bramble/bus"
)

// coming is what a node reports of a tree that it brings because of another room's order, so that the head's book of spreads
// has that too: a release of a site, the files of a job.
type coming struct {
	For   string `json:"for"` // KIND-NAME
	Ref   Ref    `json:"ref"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	End   *End   `json:"end,omitempty"` // the last
}

const (
	heraldAfter = 300 * time.Millisecond // of what is quicker nobody hears
	heraldEvery = spreadsEvery
)

// herald reports one tree's coming to the head.
type herald struct {
	conn *bus.Conn
	say  coming

	mu   sync.Mutex
	next time.Time
	told bool
}

// herald begins to report a tree that is held under a pin such as site-blog.REF; without a connection it says nothing.
func (n *Node) herald(pin string, ref Ref) *herald {
	return &herald{conn: n.Conn, say: coming{For: strings.TrimSuffix(pin, "."+string(ref)), Ref: ref}, next: time.Now().Add(heraldAfter)}
}

// over lets tell hear what the herald reports.
func (h *herald) over(tell Progress) Progress {
	return func(done, total int64) {
		h.mu.Lock()
		h.say.Done, h.say.Total = done, total
		if now := time.Now(); done < total && now.After(h.next) {
			h.told, h.next = true, now.Add(heraldEvery)
			h.publish()
		}
		h.mu.Unlock()
		if tell != nil {
			tell(done, total)
		}
	}
}

// end says how it ended, to a head that has heard of it.
func (h *herald) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.told {
		return
	}
	if h.say.End = (&End{}); err != nil {
		h.say.End = failed(err)
	}
	h.publish()
}

// publish sends what is to be said; a head that does not hear it is told more soon.
func (h *herald) publish() {
	if h.conn != nil {
		h.conn.Publish(bus.From("artefact", h.conn.Who().Name, "coming"), h.say)
	}
}
