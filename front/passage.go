package front

import (
	"errors"
	"slices"
	"sync"
	"time"

	"bramble/http1"
)

// mostTried is how many members a request is tried with.
const mostTried = 3

// passage is a request on its way through the front, on http1's loop.
type passage struct {
	g     *group
	r     *ring
	tried []*member
	m     *member // who is asked now
	claim []byte  // of whom the visitor wants
	asked time.Time
	space [mostTried]*member
	log   *AccessLog
	visit *visit // to be noted; nil without a log
}

var passages = sync.Pool{New: func() any { return new(passage) }}

// lean lets a member answer a request without a body.
func (g *group) lean(r *http1.Request, a *http1.Answer, trusted bool, log *AccessLog) {
	p := passages.Get().(*passage)
	p.g, p.r = g, g.ring.Load()
	p.tried = p.space[:0]
	if p.r.sticky != "" {
		p.claim = append(p.claim[:0], claimOf(r, p.r.sticky)...)
	}
	if p.log = log; log != nil {
		p.visit = noted(r)
	}
	a.Head, a.Relay = appendRequest(a.Space, r, trusted), p
}

// Origin is http1.Relay's.
func (p *passage) Origin(failure error, a *http1.Answer) *http1.Origin {
	if failure != nil {
		p.failed(failure)
	}
	if len(p.tried) < mostTried {
		if failure != nil {
			p.r = p.g.ring.Load()
		}
		if m := p.g.choose(p.r, p.tried, routeOf(p.claim)); m != nil {
			p.m, p.asked = m, time.Now()
			m.begin()
			return m.origin
		}
	}
	status, body := unavailable(failure)
	if a.Body = body; p.visit != nil {
		p.visit.Status, p.visit.Bytes = status, int64(len(body))
	}
	a.Head = http1.MakeHead(status, int64(len(body)), "Content-Type", "text/html; charset=utf-8", "Cache-Control", "no-store", "Retry-After", "5")
	return nil
}

// failed tells the group of a failure.
func (p *passage) failed(why error) {
	m := p.m
	p.m = nil
	m.end(0, true)
	p.tried = append(p.tried, m)
	p.g.sign(m, blame(why))
}

// blame is what a failure says of a member.
func blame(why error) Sign {
	return Sign{Plain: plain(why), Why: reason(why)}
}

// Answered is http1.Relay's.
func (p *passage) Answered(out []byte, res *http1.Response) ([]byte, bool) {
	if len(p.r.refused) > 0 && p.r.refused[res.Status] && len(p.tried) < mostTried-1 {
		return out, false
	}
	p.m.answered(time.Since(p.asked))
	p.g.sign(p.m, Sign{OK: true})
	cookie := ""
	if p.r.sticky != "" && !slices.ContainsFunc(res.Fields, func(f http1.Field) bool { return f.Is("set-cookie") && sets(f.Value, p.r.sticky) }) {
		cookie = p.r.cookieFor(p.m, p.claim)
	}
	if p.visit != nil {
		p.visit.Status = res.Status
	}
	return appendAnswer(out, res, cookie), true
}

// cookieFor is the cookie that brings a visitor back to a member. It is empty when the claim names that one already, and when the
// claim is not one that a front made, but a session of the members', which must not be lost.
func (r *ring) cookieFor(m *member, claim []byte) string {
	m.mu.Lock()
	own := m.spec.Route
	m.mu.Unlock()
	if r.sticky == "" || own == "" || own == string(claim) || len(claim) > 0 && !r.known[string(claim)] {
		return ""
	}
	return r.sticky + "=" + own + "; Path=/; HttpOnly; SameSite=Lax"
}

// Over is http1.Relay's.
func (p *passage) Over(body int64, err error) {
	if m := p.m; m != nil {
		gone := errors.Is(err, http1.ErrClient)
		m.end(body, err != nil && !gone)
		if err != nil && !gone {
			p.g.sign(m, blame(err))
		}
	}
	if v := p.visit; v != nil {
		if p.m != nil {
			v.Member, v.Bytes = p.m.name(), body
		}
		v.Tried, v.Took = len(p.tried), time.Since(v.Time).Seconds()
		p.log.note(*v)
	}
	*p = passage{claim: p.claim[:0]}
	passages.Put(p)
}
