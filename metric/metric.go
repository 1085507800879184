// Package metric counts things and shows them in Prometheus's text format.
package metric

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"bramble/sorts"
)

// Set is a process's metrics. Names begin with bramble_ROOM_.
type Set struct {
	mu       sync.Mutex
	families []family
}

type family struct {
	name, help, kind string
	collect          func(Emit)
}

// Emit gives one sample: a value and label pairs, name before value.
type Emit func(value float64, labels ...string)

// Counter only grows.
type Counter struct{ n atomic.Int64 }

// Add adds n to the counter.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Value is the sum so far.
func (c *Counter) Value() int64 { return c.n.Load() }

// Counter makes and registers a counter.
func (s *Set) Counter(name, help string) *Counter {
	c := &Counter{}
	s.Collect(name, help, "counter", func(emit Emit) { emit(float64(c.Value())) })
	return c
}

// Gauge registers a value that is asked for at each look.
func (s *Set) Gauge(name, help string, value func() float64) {
	s.Collect(name, help, "gauge", func(emit Emit) { emit(value()) })
}

// Collect registers a family whose samples are made at each look. kind is counter or gauge.
func (s *Set) Collect(name, help, kind string, collect func(Emit)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.families = append(s.families, family{name, help, kind, collect})
}

// Write writes all families, by name. Format: Prometheus exposition format 0.0.4.
func (s *Set) Write(w io.Writer) error {
	s.mu.Lock()
	families := slices.Clone(s.families)
	s.mu.Unlock()
	sorts.By(families, func(a, b family) int { return strings.Compare(a.name, b.name) })
	var text strings.Builder
	for _, f := range families {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		f.collect(func(value float64, labels ...string) {
			text.WriteString(f.name)
			writeLabels(&text, labels)
			fmt.Fprintf(&text, " %v\n", value)
		})
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func writeLabels(text *strings.Builder, labels []string) {
	for i := 0; i+1 < len(labels); i += 2 {
		text.WriteString([]string{"{", ","}[min(i, 1)])
		fmt.Fprintf(text, "%s=%q", labels[i], labels[i+1])
	}
	if len(labels) > 0 {
		text.WriteString("}")
	}
}
