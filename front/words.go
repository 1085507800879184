package front

import (
	"cmp"
	"strings"
	"time"

	"bramble/fleet"
)

// Word is how a member does.
func (m Standing) Word() string {
	switch {
	case m.Mode == Draining && m.Busy > 0:
		return "draining"
	case m.Mode == Draining:
		return "drained"
	case m.Mode != Enabled:
		return string(m.Mode)
	case m.Health.Down:
		return "down"
	case m.Duty != Regular && m.Share == 0:
		return string(m.Duty)
	case m.Health.Since.IsZero():
		return "new"
	}
	return "up"
}

// AnswersIn is a member's latency, in three digits.
func (m Standing) AnswersIn() string {
	if m.Latency == 0 {
		return "-"
	}
	step := time.Duration(1)
	for m.Latency/step >= 1000 {
		step *= 10
	}
	return m.Latency.Round(step).String()
}

// Word is how a front does on a node.
func (n OnNode) Word() string {
	switch {
	case n.State != fleet.Up:
		return string(n.State)
	case n.Error != "":
		return "failed"
	case !n.Current:
		return "changing"
	}
	return "up"
}

// Word is how a name stands with its CA at a moment.
func (c Certified) Word(now time.Time) string {
	failed := c.Why != "" && c.Why != underWay
	switch {
	case c.Until.IsZero() && failed:
		return "not certified"
	case c.Until.IsZero():
		return "asked for"
	case !c.Until.After(now):
		return "run out"
	case failed:
		return "not renewed"
	}
	return "certified"
}

// URLs are where visitors of a front come in on a node, as people type them.
func (n OnNode) URLs() (urls []string) {
	for _, x := range []struct {
		scheme, usual string
		at            []string
	}{{"http", ":80", n.Plain}, {"https", ":443", n.TLS}} {
		for _, at := range x.at {
			if strings.HasPrefix(at, ":") {
				host := n.Address
				if strings.Contains(host, ":") {
					host = "[" + host + "]"
				}
				at = host + at
			}
			if port, ok := strings.CutPrefix(at, n.Address); ok && n.Has != "" {
				urls = append(urls, x.scheme+"://"+n.Has+strings.TrimSuffix(port, x.usual)+"/")
			}
			urls = append(urls, x.scheme+"://"+strings.TrimSuffix(at, x.usual)+"/")
		}
	}
	return urls
}

// For is whom a pool answers.
func (p PoolStanding) For() string { return cmp.Or(p.Host+p.Path, "all") }
