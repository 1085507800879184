package front

import (
	"net/http"
	"strconv"

	"bramble/metric"
)

// Counts are what a front has done since its process began.
type Counts struct {
	Open     int64         `json:"open"`     // visitors' connections now
	Conns    int64         `json:"conns"`    // that were accepted
	Requests int64         `json:"requests"` // visitors'
	Bytes    int64         `json:"bytes"`    // that went out over HTTP/1, heads included
	Panics   int64         `json:"panics"`
	Refused  map[int]int64 `json:"refused,omitempty"` // messages, requests and connections, by status
}

// Register adds a front's metrics.
func (s *Server) Register(set *metric.Set) {
	Register(set, func() map[string]Carried { return map[string]Carried{"": {Pools: s.Standing(), Count: s.Counts()}} })
	if s.Issued != nil {
		s.Issued.register(set)
	}
}

// Register adds the metrics of fronts, by name; one without a name has no such label.
func Register(set *metric.Set, fronts func() map[string]Carried) {
	each := func(name, help, kind string, value func(Standing) float64) {
		set.Collect("bramble_front_member_"+name, help, kind, func(emit metric.Emit) {
			for front, c := range fronts() {
				for i, p := range c.Pools {
					for _, m := range p.Members {
						emit(value(m), labels(front, "pool", strconv.Itoa(i+1), "host", p.Host, "path", p.Path, "member", m.Name)...)
					}
				}
			}
		})
	}
	each("up", "Whether a member may be asked, as far as its health goes: 1 or 0.", "gauge", func(m Standing) float64 {
		if m.Health.Down {
			return 0
		}
		return 1
	})
	each("share", "Share of new requests that a member may get now, by weight.", "gauge", func(m Standing) float64 { return m.Share })
	each("busy", "Requests that a member is answering.", "gauge", func(m Standing) float64 { return float64(m.Busy) })
	each("requests_total", "Requests that a member was asked.", "counter", func(m Standing) float64 { return float64(m.Requests) })
	each("failures_total", "Of these, those that it did not answer properly.", "counter", func(m Standing) float64 { return float64(m.Failures) })
	each("sent_bytes_total", "Bytes of bodies that a member sent.", "counter", func(m Standing) float64 { return float64(m.Bytes) })
	each("latency_seconds", "Time to an answer's head, the average of about the last 20.", "gauge", func(m Standing) float64 { return m.Latency.Seconds() })
	of := func(name, help, kind string, value func(Counts) int64) {
		set.Collect("bramble_front_"+name, help, kind, func(emit metric.Emit) {
			for front, c := range fronts() {
				emit(float64(value(c.Count)), labels(front)...)
			}
		})
	}
	of("connections", "Visitors' open connections.", "gauge", func(c Counts) int64 { return c.Open })
	of("connections_total", "Visitors' connections that were accepted.", "counter", func(c Counts) int64 { return c.Conns })
	of("requests_total", "Visitors' requests.", "counter", func(c Counts) int64 { return c.Requests })
	of("sent_bytes_total", "Bytes that went out to visitors over HTTP/1, heads included.", "counter", func(c Counts) int64 { return c.Bytes })
	of("panics_total", "Requests that could not be answered because of a mistake in bramble.", "counter", func(c Counts) int64 { return c.Panics })
	set.Collect("bramble_front_refused_total", "Messages, requests and connections that were refused, by status.", "counter", func(emit metric.Emit) {
		for front, c := range fronts() {
			for status, n := range c.Count.Refused {
				emit(float64(n), labels(front, "status", strconv.Itoa(status))...)
			}
		}
	})
}

// labels are pairs, with the front's name if it has one.
func labels(front string, pairs ...string) []string {
	if front == "" {
		return pairs
	}
	return append([]string{"front", front}, pairs...)
}

// Counts are what all listeners have done.
func (s *Server) Counts() Counts {
	if s.now.Load() == nil {
		return Counts{}
	}
	c := s.web.Counts()
	sum := Counts{Open: c.Open, Conns: c.Conns, Requests: c.Requests, Bytes: c.Bytes, Panics: c.Panics, Refused: map[int]int64{}}
	for why, n := range c.Refusals {
		sum.Refused[why.Status] += n
	}
	for status, n := range map[int]int64{http.StatusTooManyRequests: s.denied.hurried.Load(), http.StatusRequestEntityTooLarge: s.denied.large.Load()} {
		if n > 0 {
			sum.Refused[status] += n
		}
	}
	return sum
}
