package artefact

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Courtesy has what a machine gives courteously leave its visitors what they need of the link. Only the giving side can
// tell: answers to visitors and files to nodes leave by the same link.
type Courtesy struct {
	Visitors func() int64 // bytes that have gone out to them so far

	mu       sync.Mutex
	link     linkShare
	given    int64 // since the last look, as is visitors
	visitors int64
	looked   time.Time
	pace     *rate.Limiter
}

const (
	// courtesyEvery is the time between two looks: what a kernel takes of an answer at once is on its way for as long.
	courtesyEvery = 2 * time.Second
	courtesyPiece = 16 << 10 // bytes that go out at a time
)

// linkShare is what one look after the other tells of a link, and how much of it may be given. All are bytes a second.
type linkShare struct {
	link  float64 // that it seems to carry
	limit float64 // 0: none
}

// next takes in what went out to visitors and was given courteously since the last look. Who is pressed for room seems to
// need less than it does, so visitors are left twice what they took: where they take half, they are left all but a trickle.
// What the link carries is only known by trying: it is taken to be a little more at each look, until less went out than might have.
func (l linkShare) next(visitors, given float64) linkShare {
	const spare, probe, trickle = 0.95, 1.1, 1.0 / 32
	sum, least := visitors+given, max(trickle*l.link, MinLimit)
	switch {
	case sum > l.link, l.limit > 0 && given < spare*l.limit:
		l.link = sum
	case l.limit > least:
		l.link *= probe
	}
	if visitors == 0 {
		l.limit = 0
		return l
	}
	l.limit = max(spare*l.link-2*visitors, trickle*l.link, MinLimit)
	return l
}

// wait lets n bytes go when it is their turn.
func (c *Courtesy) wait(r *http.Request, n int) error {
	c.mu.Lock()
	now := time.Now()
	if c.pace == nil {
		c.pace, c.looked, c.visitors = rate.NewLimiter(rate.Inf, courtesyPiece), now, c.Visitors()
	}
	if since := now.Sub(c.looked); since >= courtesyEvery {
		visitors := c.Visitors()
		if since < 2*courtesyEvery { // else nothing was given for a while, and what visitors did meanwhile is old
			c.link = c.link.next(float64(visitors-c.visitors)/since.Seconds(), float64(c.given)/since.Seconds())
		}
		c.looked, c.visitors, c.given = now, visitors, 0
		c.pace.SetLimit(rate.Inf)
		if c.link.limit > 0 {
			c.pace.SetLimit(rate.Limit(c.link.limit))
		}
	}
	c.given += int64(n)
	c.mu.Unlock()
	return c.pace.WaitN(r.Context(), n)
}

// courteous is an answer that yields. Its time to be taken does not begin before its turn.
type courteous struct {
	http.ResponseWriter
	c    *Courtesy
	r    *http.Request
	idle time.Duration
}

func (w *courteous) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *courteous) Write(b []byte) (n int, err error) {
	for err == nil && n < len(b) {
		piece := b[n:min(len(b), n+courtesyPiece)]
		if err = w.c.wait(w.r, len(piece)); err == nil {
			http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.idle))
			var wrote int
			wrote, err = w.ResponseWriter.Write(piece)
			n += wrote
		}
	}
	return n, err
}

// Courteous is the same client, whose sources yield to their visitors.
func (c *Client) Courteous() *Client {
	kind := *c
	kind.courteous = true
	return &kind
}

// clientsFor are those that a task's files come from.
func (t fetchTask) clientsFor(head *Client, near []*Client) (*Client, []*Client) {
	if !t.Courtesy {
		return head, near
	}
	kind := make([]*Client, len(near))
	for i, c := range near {
		kind[i] = c.Courteous()
	}
	return head.Courteous(), kind
}
