package job

import (
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"bramble/bus/bustest"
	"bramble/host"
)

// gathered is an errand and a report with one of everything, and many that are alike.
func gathered() (errand, report) {
	at := time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
	key := func(index, attempt int) Key { return Key{Job: 7, Index: index, Attempt: attempt} }
	quiet := func(index int) Result {
		return Result{Job: 7, Index: index, Attempt: 1, Started: at.Add(time.Duration(index)), Ended: at.Add(time.Second),
			Exit: host.Exit{Wall: time.Second, User: 2, System: 3, MaxRSS: 1 << 20}}
	}
	e := errand{Stamp: stamp{Head: "h", No: 300, Compact: compactForm}, Specs: map[ID]Spec{7: {Name: "n", Args: []string{"true"}, CPUs: 1}},
		Orders: []order{
			{Start: []Attempt{{Key: key(3, 1), CPUs: 1}, {Key: key(4, 1), CPUs: 1}, {Key: key(2, 1), CPUs: 1}, {Key: key(9, 2), CPUs: 2, Memory: 1 << 20},
				{Key: key(5, 1), CPUs: 1, Gres: map[string]Gres{"gpu": {Take: 1, Of: 2}}}, {Key: key(6, 1), CPUs: 1, Member: true},
				{Key: key(8, 1), CPUs: 1, Shares: []Share{{Node: "a", Ranks: 1, CPUs: 1}, {Node: "b", Ranks: 1, CPUs: 1}}}}},
			{Kill: []Key{key(1, 1)}}, {Recall: []Key{key(1, 2), key(0, 2)}}, {Start: []Attempt{{Key: key(10, 1), CPUs: 1}}}},
		Forget: []Key{key(11, 1), key(12, 1), {Job: 8, Index: 0, Attempt: 1}}}
	failed := Result{Job: 7, Index: 20, Attempt: 3, Node: "pi", Started: at, Ended: at, Exit: host.Exit{Code: -1, Signal: "SIGKILL", OOM: true}, Error: "e", Stdout: []byte("o")}
	unset := quiet(22)
	unset.Started = time.Time{}
	return e, report{Results: []Result{quiet(3), quiet(4), quiet(2), failed, quiet(21), unset}, Started: []Key{key(1, 1)}, Rejected: []Key{key(1, 2)}, Reason: "why"}
}

func TestCompact(t *testing.T) {
	e, p := gathered()
	gotE, err := readErrand(e.pack())
	if err != nil || !reflect.DeepEqual(gotE, e) {
		t.Errorf("errand: %v\ngot  %+v\nwant %+v", err, gotE, e)
	}
	gotP, err := readReport(p.pack())
	if err != nil || !reflect.DeepEqual(gotP, p) {
		t.Errorf("report: %v\ngot  %+v\nwant %+v", err, gotP, p)
	}
	for n := range e.pack() {
		if _, err := readErrand(e.pack()[:n]); err == nil && n > 0 {
			t.Errorf("an errand cut off at %d was read", n)
		}
	}
	for n := range p.pack() {
		if _, err := readReport(p.pack()[:n]); err == nil {
			t.Errorf("a report cut off at %d was read", n)
		}
	}
}

func TestCompactIsBounded(t *testing.T) {
	var p report
	for i := range maxGathered + 1 {
		p.Rejected = append(p.Rejected, Key{Job: 1, Index: i, Attempt: 1})
	}
	if _, err := readReport(p.pack()); err == nil {
		t.Error("a report of more than one message may bring was read")
	}
	p.Rejected = p.Rejected[1:]
	if _, err := readReport(p.pack()); err != nil {
		t.Error(err)
	}
	if n := len(p.pack()); n > 2*maxGathered {
		t.Errorf("%d keys take %d bytes", maxGathered, n)
	}
}

func TestCompactOnTheWire(t *testing.T) {
	e, p := gathered()
	bustest.Golden(t, "1", map[string]any{"errand-compact": hex.EncodeToString(e.pack()), "report-compact": hex.EncodeToString(p.pack())})
}

func FuzzCompact(f *testing.F) {
	e, p := gathered()
	f.Add(e.pack())
	f.Add(p.pack())
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := readErrand(data); err == nil && len(data) > 0 && data[0] != '{' {
			if again, err := readErrand(e.pack()); err != nil || len(again.Forget) != len(e.Forget) {
				t.Errorf("what was read once is not read again: %v", err)
			}
		}
		readReport(data)
	})
}
