package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"bramble/fault"
)

// ask is what a rank of a step of n asks a meeting.
func ask(do, step string, rank, n int, name, value string) StepRequest {
	return StepRequest{Do: do, StepCommand: StepCommand{Rank: Rank{Step: step, Rank: rank, Ranks: n}}, Meet: Meet{Name: name, Value: []byte(value)}}
}

// goingOn is the same of a step that goes on without lost ranks.
func goingOn(req StepRequest) StepRequest {
	req.Rank.Alone = true
	return req
}

func TestGetWaitsForPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeeting()
		var got []string
		var mu sync.Mutex
		for rank := range 3 {
			go func() {
				v, err := m.do(t.Context(), ask(doGet, "s", rank, 3, "address", ""))
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%s %v", v, err))
			}()
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("%q was got before anything was put", got)
		}
		for _, req := range []StepRequest{ask(doPut, "other", 0, 3, "address", "of another step"), ask(doPut, "s", 0, 3, "port", "1")} {
			if _, err := m.do(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("%q was got of another name or step", got)
		}
		for _, value := range []string{"first", "second"} { // the later one counts from then on
			if _, err := m.do(t.Context(), ask(doPut, "s", 0, 3, "address", value)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if want := "first <nil>"; len(got) != 3 || slices.ContainsFunc(got, func(s string) bool { return s != want }) {
				t.Errorf("%q, want %q thrice", got, want)
			}
		}
		if v, err := m.do(t.Context(), ask(doGet, "s", 1, 3, "address", "")); err != nil || string(v.([]byte)) != "second" {
			t.Errorf("%s, %v", v, err)
		}
	})
}

// come has ranks of a step of n come to a fence, and counts those who are past it and those who were told an error.
type fenced struct {
	mu     sync.Mutex
	past   int
	errors []string
}

func (f *fenced) come(t *testing.T, m *meeting, reqs ...StepRequest) {
	for _, req := range reqs {
		go func() {
			_, err := m.do(t.Context(), req)
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.past++; err != nil {
				f.past--
				f.errors = append(f.errors, err.Error())
			}
		}()
	}
	synctest.Wait()
}

func TestFenceWaitsForAllRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, f := newMeeting(), &fenced{}
		f.come(t, m, ask(doFence, "s", 0, 3, "a", ""), ask(doFence, "s", 2, 3, "a", ""), ask(doFence, "s", 2, 3, "a", ""))
		f.come(t, m, ask(doFence, "s", 1, 3, "b", ""), ask(doFence, "other", 1, 3, "a", ""))
		if f.past != 0 || f.errors != nil {
			t.Fatalf("%d are past a fence to which one has not come; %q", f.past, f.errors)
		}
		f.come(t, m, ask(doFence, "s", 1, 3, "a", ""))
		if f.past != 4 || f.errors != nil {
			t.Errorf("%d are past the fence, %q; want both 2s, 0 and 1", f.past, f.errors)
		}
		f.come(t, m, ask(doFence, "s", 0, 3, "b", ""), ask(doFence, "s", 2, 3, "b", ""))
		if f.past != 7 {
			t.Errorf("%d are past both fences, want 7", f.past)
		}
	})
}

func TestALostRankFreesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, f := newMeeting(), &fenced{}
		f.come(t, m, ask(doFence, "s", 0, 3, "a", ""), ask(doGet, "s", 1, 3, "of 2", ""), ask(doFence, "other", 0, 3, "a", ""))
		f.come(t, m, ask(doLost, "s", 2, 3, "", ""))
		f.come(t, m, ask(doFence, "s", 1, 3, "a", "")) // too late to be waited for
		if f.past != 1 || len(f.errors) != 3 || !strings.Contains(f.errors[0], "rank 2 of the step was lost") {
			t.Errorf("%d are past, of which one is the lost rank's word; told: %q", f.past, f.errors)
		}
	})
}

// A rank that had come before it was lost is not missed at that fence.
func TestALostRankThatHadCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, f := newMeeting(), &fenced{}
		f.come(t, m, ask(doFence, "s", 1, 2, "a", ""), ask(doLost, "s", 1, 2, "", ""), ask(doFence, "s", 0, 2, "a", ""))
		if f.past < 2 { // its own wait may have been told either
			t.Errorf("%d are past; told: %q", f.past, f.errors)
		}
	})
}

func TestOthersKeepGoingWithoutALostRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, f := newMeeting(), &fenced{}
		f.come(t, m, goingOn(ask(doFence, "s", 0, 3, "a", "")), goingOn(ask(doGet, "s", 1, 3, "of 0", "")))
		f.come(t, m, goingOn(ask(doLost, "s", 2, 3, "", "")))
		if f.past != 1 || f.errors != nil {
			t.Fatalf("%d are past while rank 1 has not come; %q", f.past, f.errors)
		}
		f.come(t, m, goingOn(ask(doPut, "s", 0, 3, "of 0", "v")), goingOn(ask(doFence, "s", 1, 3, "a", "")))
		if f.past != 5 || f.errors != nil {
			t.Fatalf("%d are past, %q; want all 5", f.past, f.errors)
		}
		f.come(t, m, goingOn(ask(doGet, "s", 0, 3, "of 2", "")))
		if f.past != 5 || f.errors != nil {
			t.Fatalf("%d, %q: a value may still be put by another", f.past, f.errors)
		}
		f.come(t, m, goingOn(ask(doLost, "s", 1, 3, "", "")), goingOn(ask(doLost, "s", 0, 3, "", "")))
		if f.past != 7 || len(f.errors) != 1 {
			t.Errorf("%d, %q: nobody is left to put the value", f.past, f.errors)
		}
	})
}

func TestTheEndOfAnAllocationFreesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, f := newMeeting(), &fenced{}
		f.come(t, m, ask(doFence, "s", 0, 2, "a", ""), ask(doGet, "s", 1, 2, "b", ""))
		ctx, cancel := context.WithCancel(t.Context())
		interrupted := make(chan error, 1)
		go func() {
			_, err := m.do(ctx, ask(doGet, "s", 1, 2, "c", ""))
			interrupted <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-interrupted; !fault.Is(err, fault.Interrupted) {
			t.Errorf("who went away is told %v", err)
		}
		m.close()
		f.come(t, m, ask(doGet, "s", 0, 2, "d", ""))
		if f.past != 0 || len(f.errors) != 3 || !strings.Contains(strings.Join(f.errors, ";"), "the allocation is over") {
			t.Errorf("%d are past, told: %q", f.past, f.errors)
		}
	})
}

func TestMeetingRefuses(t *testing.T) {
	long := strings.Repeat("n", maxMeetName+1)
	for name, c := range map[string]struct {
		req  StepRequest
		want fault.Code
	}{
		"no rank":             {StepRequest{Do: doPut, Meet: Meet{Name: "a"}}, fault.Misused},
		"a rank beyond":       {ask(doPut, "s", 2, 2, "a", ""), fault.Misused},
		"a rank below":        {ask(doFence, "s", -1, 2, "a", ""), fault.Misused},
		"too many ranks":      {ask(doFence, "s", 0, maxNoted+1, "a", ""), fault.Misused},
		"a long name":         {ask(doPut, "s", 0, 2, long, ""), fault.Misused},
		"a long step's put":   {ask(doPut, long, 0, 2, "a", ""), fault.Misused},
		"a long step's loss":  {ask(doLost, long, 0, 2, "", ""), fault.Misused},
		"a large value":       {ask(doPut, "s", 0, 2, "a", strings.Repeat("v", MaxValue+1)), fault.Full},
		"a value that's fine": {ask(doPut, "s", 0, 2, "a", strings.Repeat("v", MaxValue)), ""},
	} {
		_, err := newMeeting().do(t.Context(), c.req)
		if c.want == "" && err != nil || c.want != "" && !fault.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What ranks put together has a bound, in bytes and in number, whatever they call it; what is there may be replaced.
func TestMeetingIsBounded(t *testing.T) {
	m := newMeeting()
	value := strings.Repeat("v", MaxValue)
	put := func(name, value string) error {
		_, err := m.do(t.Context(), ask(doPut, "s", 0, 2, name, value))
		return err
	}
	count := 0
	for ; put(fmt.Sprint(count), value) == nil; count++ {
		if count > maxMet/MaxValue {
			t.Fatal("no bound in bytes")
		}
	}
	if count < maxMet/MaxValue-2 {
		t.Errorf("only %d values of %d bytes", count, MaxValue)
	}
	if err := put("0", ""); err != nil {
		t.Errorf("a smaller value in its stead: %v", err)
	}
	if err := put("more", value[:MaxValue-100]); err != nil {
		t.Errorf("what became free may be used: %v", err)
	}

	m = newMeeting()
	for i := range maxValues {
		if err := put(fmt.Sprint(i), ""); err != nil {
			t.Fatalf("value %d: %v", i, err)
		}
	}
	if err := put("one too many", ""); !fault.Is(err, fault.Full) {
		t.Errorf("one too many: %v", err)
	}
	if err := put("0", "again"); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

// Ranks that wait are bounded too, and so are steps; a fence that opened and a step that ended count no more.
func TestFencesAreBounded(t *testing.T) {
	m := newMeeting()
	arrive := func(step, name string, rank int) error {
		_, err := m.arrive(Rank{Step: step, Rank: rank, Ranks: maxNoted}, name)
		return err
	}
	for i := range maxNoted {
		if err := arrive("s", fmt.Sprint(i/1000), i%1000); err != nil {
			t.Fatalf("arrival %d: %v", i, err)
		}
	}
	if err := arrive("other", "a", 0); !fault.Is(err, fault.Full) {
		t.Errorf("one too many: %v", err)
	}
	m.forget("s")
	m.forget("other")
	for i := range maxMeetings {
		if err := arrive(fmt.Sprint(i), "a", 0); err != nil {
			t.Fatalf("step %d after others ended: %v", i, err)
		}
	}
	if err := arrive("more", "a", 0); !fault.Is(err, fault.Full) {
		t.Errorf("one step too many: %v", err)
	}
}

// A fence's name may be used again and again: nobody is let through by those who came the time before.
func TestAFenceIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, f := newMeeting(), &fenced{}
		for round := range 1000 {
			f.come(t, m, ask(doFence, "s", 0, 2, "round", ""))
			if f.past != 2*round {
				t.Fatalf("round %d: let through alone", round)
			}
			f.come(t, m, ask(doFence, "s", 1, 2, "round", ""))
			if f.past != 2*round+2 || m.noted != 0 {
				t.Fatalf("round %d: %d are past and %d wait", round, f.past, m.noted)
			}
		}
	})
}

func TestAStepThatIsOverIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, f := newMeeting(), &fenced{}
		f.come(t, m, ask(doPut, "s", 0, 3, "a", "v"), ask(doGet, "s", 0, 3, "b", ""), ask(doFence, "s", 1, 3, "c", ""))
		f.come(t, m, ask(doOver, "s", 0, 3, "", ""))
		if f.past != 2 || len(f.errors) != 2 || !strings.Contains(f.errors[0], "the step is over") {
			t.Errorf("%d are past, told: %q", f.past, f.errors)
		}
		if m.size != 0 || m.values != 0 || m.noted != 0 || len(m.steps) != 0 {
			t.Errorf("%d bytes of %d values, %d ranks and %d steps are left", m.size, m.values, m.noted, len(m.steps))
		}
	})
}
