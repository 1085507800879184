package keeper

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReplay(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	b := func(id string) fact { return fact{kind: kindBegun, begun: begun{ID: id, At: at}} }
	e := func(id string) fact { return fact{kind: kindEnded, ended: Status{ID: id}} }
	f := func(ids ...string) fact { return fact{kind: kindForgotten, forgotten: ids} }
	tests := []struct {
		name       string
		facts      []fact
		kept, lost string
	}{
		{"nothing", nil, "", ""},
		{"running when it was lost", []fact{b("2"), b("1")}, "", "1 2"},
		{"in the order they ended", []fact{b("1"), b("2"), e("2"), e("1")}, "2 1", ""},
		{"forgotten", []fact{b("1"), e("1"), b("2"), f("1"), e("2"), b("3"), e("3"), f("3", "9")}, "2", ""},
		{"its beginning was damaged", []fact{e("1")}, "1", ""},
		{"its end was damaged", []fact{b("1"), f("1")}, "", ""},
		{"cut with the beginning behind the end", []fact{e("1"), b("1")}, "1", ""},
		{"written twice", []fact{b("1"), e("1"), e("2"), e("1")}, "2 1", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var r replay
			for _, f := range test.facts {
				r.apply(f)
			}
			if kept := names(r.kept()); kept != test.kept {
				t.Errorf("kept %q, want %q", kept, test.kept)
			}
			lost := r.lost(at.Add(time.Hour))
			if names(lost) != test.lost {
				t.Errorf("lost %q, want %q", names(lost), test.lost)
			}
			for _, s := range lost {
				if s.Error != Lost || s.Running || s.Exit != nil || !s.Started.Equal(at) || !s.Ended.Equal(at.Add(time.Hour)) {
					t.Errorf("lost as %+v", s)
				}
			}
		})
	}
}

func names(list []Status) string {
	var ids []string
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return strings.Join(ids, " ")
}

func TestWorthCutting(t *testing.T) {
	tests := []struct {
		size, live int64
		idle, want bool
	}{
		{16, 0, true, false},
		{17, 0, true, true},
		{17, 0, false, false},
		{4000, 100, true, false},
		{2 << 20, 100, true, true},
		{2 << 20, 1 << 20, true, false},
		{2 << 20, 0, false, true},
		{2 << 20, 1 << 20, false, false},
	}
	for _, test := range tests {
		if got := worthCutting(test.size, test.live, test.idle); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func TestChunksFitAndLoseNothing(t *testing.T) {
	worst := strings.Repeat("\x01", 600<<10) // six bytes each in JSON
	var tasks []Task
	for i := range 40 {
		tasks = append(tasks, Task{ID: strings.Repeat("1", i+1), Args: []string{worst[:i*15<<10]}})
	}
	for range 3000 {
		tasks = append(tasks, Task{ID: "2", Args: []string{"true"}, Env: []string{"A=B"}})
	}
	var all []Task
	for _, part := range chunks(tasks) {
		if _, err := encode(request{Number: 1 << 60, Do: "start", Tasks: part}, nil); err != nil {
			t.Errorf("%d tasks: %v", len(part), err)
		}
		all = append(all, part...)
	}
	if !slices.EqualFunc(all, tasks, func(a, b Task) bool { return a.ID == b.ID && slices.Equal(a.Args, b.Args) }) {
		t.Errorf("%d of %d tasks", len(all), len(tasks))
	}
}

// Whatever a journal holds, reading it neither fails nor invents a record that was not written.
func FuzzRecord(f *testing.F) {
	whole := newRecord(kindEnded, Status{ID: "1", Stdout: 3}, []byte("abc")).appendTo(nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(bytes.Repeat([]byte{0}, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := readRecord(bytes.NewReader(data), 0, int64(len(data)))
		if err == nil && !bytes.HasPrefix(data, r.appendTo(nil)) {
			t.Errorf("%x was read as %+v", data, r)
		}
	})
}
