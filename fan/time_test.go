package fan_test

import (
	"context"
	"strings"
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

func (r *rig) count(m bus.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, m.Subject)
}

// counted is how many messages went over the bus whose subject has the part in it.
func (r *rig) counted(part string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, subject := range r.heard {
		if strings.Contains(subject, part) {
			n++
		}
	}
	return n
}

func TestInFakeTime(t *testing.T) {
	sleep := fan.Request{On: "all", Args: []string{"sleep", "3600"}}
	for name, test := range map[string]func(r *rig){
		"a short command is one message to each node and one back": func(r *rig) {
			if err := r.head.Subscribe(r.Context(), ">", r.count); err != nil {
				r.Fatal(err)
			}
			r.head.Flush(r.Context())
			for _, command := range [][]string{{"true"}, {"echo", "hi"}, {"nosuch"}} {
				r.heard = nil
				s, _ := r.within(r.Context(), fan.Request{On: "all", Args: command})
				synctest.Wait()
				if asked, told := r.counted("fan.node."), r.counted(".node-n"); len(s.ends) != 3 || asked != 3 || told != 3 {
					r.Errorf("%q: %d nodes were asked in %d messages and answered in %d", command, len(s.ends), asked, told)
				}
				if command[0] == "echo" && s.out["n2"] != "hi\n" {
					r.Errorf("said %q", s.out)
				}
			}
		},
		"a head that does not know better has one report a message": func(r *rig) {
			s, err := r.head.Open(r.Context(), bus.Node("fan", "n1", "run"), []byte(`{"user":"ann","args":["echo","hi"]}`))
			if err != nil {
				r.Fatal(err)
			}
			first, _ := s.Recv()
			second, _ := s.Recv()
			if string(first) != "ohi\n" || !strings.HasPrefix(string(second), "x{") {
				r.Errorf("%q, %q", first, second)
			}
		},
		"a node may have one report a message": func(r *rig) {
			old := r.bus.Node("n2")
			defer old.Close()
			r.nodes["n2"].Close()
			err := bus.HandleStream(r.Context(), old, bus.Node("fan", "n2", "run"), func(_ context.Context, _ bus.Caller, _ []byte, s *bus.Stream) error {
				s.Send([]byte("oold\n"))
				return s.SendLast([]byte("x{}"))
			})
			if err != nil {
				r.Fatal(err)
			}
			old.Flush(r.Context())
			if s, _ := r.within(r.Context(), fan.Request{On: "all", Args: []string{"true"}}); s.out["n2"] != "old\n" || !s.ends["n2"].OK() {
				r.Errorf("said %q, ended %+v", s.out, s.ends)
			}
		},
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
