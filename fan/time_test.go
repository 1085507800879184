package fan_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/fan"
	"bramble/trust"
)

// within runs a command in fake time and tells how long it took.
func (r *rig) within(ctx context.Context, req fan.Request) (said, time.Duration) {
	begun := time.Now()
	s := collectIn(ctx, r.client(), req, nil, nil)
	return s, time.Since(begun)
}

// idle waits until no simulated command runs.
func (r *rig) idle() {
	r.Helper()
	synctest.Wait()
	for name, m := range r.machines {
		if sample, err := m.Sample(r.Context()); err != nil || sample.Load >= 1 {
			r.Errorf("%s goes on: load %v, %v", name, sample.Load, err)
		}
	}
}

func TestInFakeTime(t *testing.T) {
	sleep := fan.Request{On: "all", Args: []string{"sleep", "3600"}}
	for name, test := range map[string]func(r *rig){
		"a node that hears and says nothing is named": func(r *rig) {
			silent := r.bus.Node("n2")
			r.nodes["n2"].Close()
			if err := silent.Subscribe(r.Context(), bus.Node("fan", "n2", "run"), func(bus.Message) {}); err != nil {
				r.Fatal(err)
			}
			silent.Flush(r.Context())
			s, took := r.within(r.Context(), fan.Request{On: "all", Args: []string{"true"}})
			if !s.ends["n2"].Lost || s.ends["n2"].Error != "no answer" || !s.ends["n1"].OK() || !s.ends["n3"].OK() {
				r.Errorf("ended %+v, %v", s.ends, s.fault)
			}
			if took < bus.Lost || took > bus.Lost+2*bus.KeepAlive {
				r.Errorf("it took %s", took)
			}
		},
		"a node that is nowhere is named at once": func(r *rig) {
			r.nodes["n2"].Close()
			s, took := r.within(r.Context(), fan.Request{On: "all", Args: []string{"true"}})
			if !s.ends["n2"].Lost || !s.ends["n1"].OK() || took > 2*bus.Settle {
				r.Errorf("ended %+v after %s, %v", s.ends, took, s.fault)
			}
		},
		"a node that goes in the middle is named, and the others go on": func(r *rig) {
			time.AfterFunc(time.Minute, func() { // without the last words that an orderly end may still bring
				r.bus.Kick(func(id trust.Identity) bool { return id.Name == "n3" })
			})
			s, took := r.within(r.Context(), sleep)
			if !s.ends["n3"].Lost || !s.ends["n1"].OK() || !s.ends["n2"].OK() || took < time.Hour || took > time.Hour+time.Second {
				r.Errorf("ended %+v after %s, %v", s.ends, took, s.fault)
			}
		},
		"a command that lasts too long is ended": func(r *rig) {
			req := sleep
			req.Timeout = 10 * time.Minute
			s, took := r.within(r.Context(), req)
			for name, end := range s.ends {
				if !end.Timeout || end.Exit.Signal != "SIGTERM" {
					r.Errorf("%s ended %+v", name, end)
				}
			}
			if len(s.ends) != 3 || took < req.Timeout || took > req.Timeout+fan.Grace {
				r.Errorf("%d ended after %s, %v", len(s.ends), took, s.fault)
			}
			r.idle()
		},
		"a cancelled one ends everywhere": func(r *rig) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			if s, took := r.within(ctx, sleep); took != time.Minute || s.fault == nil {
				r.Errorf("ended after %s, %v", took, s.fault)
			}
			r.idle()
		},
		"some at a time": func(r *rig) {
			req := fan.Request{On: "all", Args: []string{"sleep", "60"}, Fanout: 2}
			if s, took := r.within(r.Context(), req); took < 2*time.Minute || took > 2*time.Minute+time.Second || len(s.ends) != 3 {
				r.Errorf("%d ended after %s, %v", len(s.ends), took, s.fault)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(simRig(t, "n1", "n2", "n3")) })
		})
	}
}
