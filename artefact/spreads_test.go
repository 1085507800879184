package artefact_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/metric"
	"bramble/trust"
)

// spreadsOf is what everybody is told.
func (v *vaults) spreadsOf() (list []Spread) {
	v.Helper()
	for s, err := range (Copier{Conn: v.as("vic", trust.Viewer).Conn}).Spreads(v.Context(), SpreadsRequest{}) {
		must(v.T, err)
		list = append(list, s)
	}
	return list
}

// Somebody who looks hears of a put and of a mend that somebody else's nodes are at.
func TestSpreadsAreTold(t *testing.T) {
	inBubble(t, []string{"n1", "n2", "n3"}, nil, func(v *vaults) {
		v.stores.Spreads = &Spreads{Now: time.Now}
		end := v.run((&Service{Conn: v.conn, Store: v.store, Events: v.events, Metrics: &metric.Set{}, Spreads: v.stores.Spreads, Log: slog.New(slog.DiscardHandler)}).Run)
		defer end()
		pass(time.Second)
		if list := v.spreadsOf(); len(list) != 0 {
			t.Errorf("at the start: %+v", list)
		}
		ctx, stop := context.WithCancel(v.Context())
		heard, ended := make(chan Spread, 100), make(chan struct{})
		follower := Copier{Conn: v.as("vic", trust.Viewer).Conn}
		go func() {
			defer close(ended)
			for s, err := range follower.Spreads(ctx, SpreadsRequest{Follow: true}) {
				if err == nil {
					heard <- s
				}
			}
		}()
		d, _, err := v.put(v.as("ann", trust.Operator), "album", 3<<20, 2)
		must(t, err)
		pass(time.Second)
		var put Spread
		for len(heard) > 0 {
			put = <-heard
		}
		if put.Kind != SpreadPut || put.What != "album" || put.User != "ann" || put.Bytes != 3<<20 || put.Whole != 2 || put.Done != 6<<20 || put.Ended.IsZero() || put.Error != "" {
			t.Errorf("a follower hears %+v", put)
		}
		pass(5 * time.Second)
		if len(heard) > 0 {
			t.Errorf("told of what has not changed: %+v", <-heard)
		}
		stop()
		<-ended

		var names []string
		for _, h := range d.Ring {
			names = append(names, h.Node)
		}
		v.down(names[0])
		pass(Patience + time.Minute)
		list := v.spreadsOf()
		if len(list) != 2 || list[0].Kind != SpreadMend || list[0].What != "album" || list[0].User != "" || list[0].Whole < 1 || list[1].ID != put.ID {
			t.Errorf("after a node was away for too long: %+v", list)
		}
		v.up(names[0])
		if _, _, err := v.put(v.as("ann", trust.Operator), "none", 1, 9); err == nil {
			t.Error("nine copies on three nodes")
		}
		if list := v.spreadsOf(); slices.ContainsFunc(list, func(s Spread) bool { return s.What == "none" }) {
			t.Errorf("what was refused is told of: %+v", list)
		}
	})
}
