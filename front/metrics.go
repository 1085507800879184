package front

import (
	"strconv"

	"bramble/http1"
	"bramble/metric"
)

// Register adds a front's metrics.
func (s *Server) Register(set *metric.Set) {
	each := func(name, help, kind string, value func(Standing) float64) {
		set.Collect("bramble_front_member_"+name, help, kind, func(emit metric.Emit) {
			for i, members := range s.Standings() {
				for _, m := range members {
					emit(value(m), "pool", strconv.Itoa(i+1), "host", s.Spec.Pools[i].Host, "path", s.Spec.Pools[i].Path, "member", m.Name)
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
	of := func(name, help, kind string, value func(http1.Counts) int64) {
		set.Collect("bramble_front_"+name, help, kind, func(emit metric.Emit) { emit(float64(value(s.Counts()))) })
	}
	of("connections", "Visitors' open connections.", "gauge", func(c http1.Counts) int64 { return c.Open })
	of("connections_total", "Visitors' connections that were accepted.", "counter", func(c http1.Counts) int64 { return c.Conns })
	of("requests_total", "Visitors' requests.", "counter", func(c http1.Counts) int64 { return c.Requests })
	of("sent_bytes_total", "Bytes that went out to visitors over HTTP/1, heads included.", "counter", func(c http1.Counts) int64 { return c.Bytes })
	of("panics_total", "Requests that could not be answered because of a mistake in bramble.", "counter", func(c http1.Counts) int64 { return c.Panics })
	set.Collect("bramble_front_refused_total", "Messages and connections that were refused, by status.", "counter", func(emit metric.Emit) {
		byStatus := map[int]int64{}
		for why, n := range s.Counts().Refusals {
			byStatus[why.Status] += n
		}
		for status, n := range byStatus {
			emit(float64(n), "status", strconv.Itoa(status))
		}
	})
	if s.ACME != nil {
		s.ACME.register(set)
	}
}

// register adds when certificates end.
func (a *ACME) register(set *metric.Set) {
	set.Collect("bramble_front_certificate_expires_seconds", "When a name's certificate by ACME ends, as a Unix time; 0: it has none.", "gauge", func(emit metric.Emit) {
		for _, host := range a.Hosts {
			ends := 0.0
			if cert, _ := a.certificate(host); cert != nil {
				ends = float64(cert.Leaf.NotAfter.Unix())
			}
			emit(ends, "name", host)
		}
	})
}

// Counts are what all listeners have done.
func (s *Server) Counts() (sum http1.Counts) {
	if s.routes.Load() == nil {
		return sum
	}
	for _, h := range s.servers {
		sum.Add(h.Counts())
	}
	return sum
}
