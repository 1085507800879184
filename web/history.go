package web

import (
	"math"
	"time"

	"bramble/host"
)

// A history is a node's last minutes as the sparklines show them: one slot each slotTime.
const (
	slotTime = 2 * time.Second
	slots    = 60 // two minutes
)

// measure is a line of a history.
type measure int

const (
	busyCores measure = iota // cores at work
	load                     // one-minute load average
	memory                   // share of the whole, 0–1
	heat                     // °C
	received                 // bytes a second
	sent                     // bytes a second
	measures
)

// history is a ring of slots. A slot that no sample fell into is NaN in every line.
type history struct {
	lines [measures][slots]float32
	last  int64 // slot number of the newest slot: Unix time / slotTime
	in    int   // samples in the newest slot
	prev  host.Sample
}

func newHistory() *history {
	h := &history{}
	for m := range h.lines {
		for i := range h.lines[m] {
			h.lines[m][i] = nan
		}
	}
	return h
}

var nan = float32(math.NaN())

// add takes a sample in; one that was seen before, or that a clock set back made older, changes nothing.
func (h *history) add(s host.Sample, cores int) bool {
	if s.At.IsZero() || !s.At.After(h.prev.At) {
		return false
	}
	slot := s.At.UnixNano() / int64(slotTime)
	if h.prev.At.IsZero() || slot-h.last > slots {
		*h = *newHistory()
		h.last = slot
	}
	for ; h.last < slot; h.last++ {
		h.in = 0
		for m := range h.lines {
			h.lines[m][(h.last+1)%slots] = nan
		}
	}
	for m, value := range valuesOf(h.prev, s, cores) {
		at := &h.lines[m][slot%slots]
		if h.in == 0 {
			*at = value
		} else {
			*at += (value - *at) / float32(h.in+1)
		}
	}
	h.in++
	h.prev = s
	return true
}

// valuesOf turns a sample, and the one before it, into one value a line.
func valuesOf(prev, s host.Sample, cores int) [measures]float32 {
	v := [measures]float32{busyCores: float32(s.CPU * float64(cores)), load: float32(s.Load), heat: nan}
	if s.MemTotal > 0 {
		v[memory] = float32(s.MemUsed) / float32(s.MemTotal)
	}
	if s.Temp != 0 {
		v[heat] = float32(s.Temp)
	}
	v[received], v[sent] = rate(prev, s, prev.RxBytes, s.RxBytes), rate(prev, s, prev.TxBytes, s.TxBytes)
	return v
}

// rate is bytes a second between two samples; 0 when a counter began anew.
func rate(prev, s host.Sample, before, now uint64) float32 {
	passed := s.At.Sub(prev.At).Seconds()
	if prev.At.IsZero() || passed <= 0 || now < before {
		return 0
	}
	return float32(float64(now-before) / passed)
}

// values is a line, oldest first.
func (h *history) values(m measure) []float32 {
	list := make([]float32, slots)
	for i := range list {
		list[i] = h.lines[m][(h.last+1+int64(i))%slots]
	}
	return list
}

// now is the newest value of a line; 0 when there is none.
func (h *history) now(m measure) float64 {
	if v := h.lines[m][h.last%slots]; v == v {
		return float64(v)
	}
	return 0
}
