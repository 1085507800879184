package job

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"
)

// history is a journal with every kind of entry in it, and the state it leads to.
func history(t *testing.T) ([][]byte, *State) {
	c := newScene(t)
	s := spec("1-9:2%3")
	s.Retries = 1
	c.do(up("a", 4))
	c.do(submit(s, "a"))
	c.do(submit(spec("1-4"), "a"))
	c.do(ended("a", time.Second, "1.1.1", "1.3.1!"))
	c.do(ended("a", time.Second, "1.3.2!"))
	c.do(NodeGone{"a"})
	c.do(Cancel{ID: 2, By: "bob"})
	c.do(up("a", 4))
	return c.journal, c.s
}

// The bytes of the journal are a promise to the clusters that have one.
func TestRecordBytes(t *testing.T) {
	at := time.Unix(1, 0)
	var tasks Ranges
	tasks.AddRange(2, 4)
	tasks.Add(9)
	usage := Usage{Wall: 300, User: 2, System: 1, MaxRSS: 4096, First: at, Last: at}
	failure := Failure{Index: 5, Attempt: 2, Node: "a", Code: -1, Signal: "SIGKILL", OOM: true, Timeout: true, Error: "e", Ended: at}
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"header", "02" + "ac02" + "80a8d6b907", appendHeader(nil, 300, at)},
		{"head", "01" + "03", appendHead(nil, 3)},
		{"submitted", "02" + "07" + "22" + hex.EncodeToString([]byte(`{"user":"u","cpus":1,"patience":0}`)), appendSubmitted(nil, 7, Spec{User: "u", CPUs: 1})},
		{"done", "03" + "07" + "02" + "0202" + "0500" + "0161" + "ac02" + "02" + "01" + "8020" + "80a8d6b907" + "80a8d6b907", appendDone(nil, 7, &tasks, "a", usage)},
		{"failed", "04" + "07" + "05" + "02" + "0161" + "01" + "07" + hex.EncodeToString([]byte("SIGKILL")) + "03" + "0165" + "80a8d6b907" +
			"00" + "00" + "00" + "00" + "00" + "00", appendFailed(nil, 7, 5, failure, Usage{})},
		{"spent", "05" + "07" + "05" + "02" + "01", appendSpent(nil, 7, 5, 2, true)},
		{"stopped", "06" + "07" + "03" + hex.EncodeToString([]byte("bob")), appendStopped(nil, 7, "bob")},
		{"cancelled", "07" + "07" + "02" + "0202" + "0500", appendCancelled(nil, 7, &tasks)},
		{"held", "08" + "07" + "03" + hex.EncodeToString([]byte("bob")), appendHeld(nil, 7, "bob")},
		{"altered", "09" + "07" + "0a" + hex.EncodeToString([]byte(`{"nice":5}`)), appendAltered(nil, 7, Alteration{Nice: new(5)})},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s is\n%s, want\n%s", c.name, got, c.want)
		}
	}
}

func TestReplayAndSnapshot(t *testing.T) {
	journal, live := history(t)
	want := live.Snapshot()
	for cut := range len(journal) + 1 {
		s := NewState()
		for _, record := range journal[:cut] {
			if err := s.Apply(record); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Restore(s.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range journal { // those before the cut are there already
			if err := s.Apply(record); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(s.Snapshot(), want) {
			t.Fatalf("a snapshot after record %d and the records after it give another state", cut)
		}
		if !reflect.DeepEqual(s.Failures(1), live.Failures(1)) || s.Tasks(1, Done) != "1" || s.Tasks(1, Failed) != "3" {
			t.Errorf("failures are %+v", s.Failures(1))
		}
	}
}

func TestDamagedRecords(t *testing.T) {
	journal, _ := history(t)
	for i, record := range journal {
		before := NewState()
		for _, r := range journal[:i] {
			if err := before.Apply(r); err != nil {
				t.Fatal(err)
			}
		}
		snapshot := before.Snapshot()
		// A record that ends between two entries reads as a whole one: lengths are the journal's to keep.
		for length := range record {
			s, err := Restore(snapshot)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Apply(record[:length]); err != nil && s.Seq() != uint64(i) {
				t.Fatalf("record %d cut to %d bytes: %v, and the state says it has record %d", i+1, length, err, s.Seq())
			}
		}
	}
	s := NewState()
	for _, c := range []struct {
		record []byte
		says   string
	}{
		{nil, "version 0"},
		{[]byte{3, 1, 2}, "version 3"},
		{[]byte{2, 1}, "cut off"},
		{journal[1], "records between them are missing"},
		{[]byte{2, 1, 2, 99, 1}, "kind 99"},
		{[]byte{2, 1, 2, entryDone, 7}, "job 7, which is not open"},
		{[]byte{2, 1, 2, entryHead}, "cut off"},
	} {
		if err := s.Apply(c.record); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: got %v, want %q", c.record, err, c.says)
		}
	}
	if _, err := Restore([]byte{9}); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("a snapshot of another version: %v", err)
	}
	if _, err := Restore(append(NewState().Snapshot(), 0)); err == nil {
		t.Error("a snapshot with more behind it is read")
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte{2, 1, 2, entryHead, 1})
	f.Add(append(appendSubmitted(appendHeader(nil, 1, begin), 1, spec("1-9")), appendSpent(nil, 1, 3, 1, true)...))
	var tasks Ranges
	tasks.AddRange(0, 3)
	f.Add(append(appendSubmitted(appendHeader(nil, 1, begin), 1, spec("1-9")), appendDone(nil, 1, &tasks, "a", Usage{})...))
	f.Fuzz(func(t *testing.T, record []byte) {
		s := NewState()
		if s.Apply(record) != nil {
			return
		}
		again, err := Restore(s.Snapshot())
		if err != nil || !bytes.Equal(again.Snapshot(), s.Snapshot()) {
			t.Fatalf("the state of %x doesn't survive a snapshot: %v", record, err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	c := newScene(&testing.T{})
	c.do(up("a", 1))
	c.do(submit(spec("1-9"), "a"))
	c.do(ended("a", time.Second, "1.1.1!"))
	f.Add(c.s.Snapshot())
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		if s, err := Restore(snapshot); err == nil {
			s.Snapshot()
			Step(s, HeadStarted{}, begin)
		}
	})
}
