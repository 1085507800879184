package front

import (
	"testing"

	"bramble/fleet"
)

func TestTaken(t *testing.T) {
	has, can := Carried{Has: "192.0.2.1"}, Carried{}
	failed := Carried{Error: "no such network"}
	for _, test := range []struct {
		what  string
		nodes []OnNode
		want  bool
	}{
		{"nobody yet", []OnNode{{State: fleet.Up, Carried: can}, {State: fleet.Up, Carried: failed}}, false},
		{"one has it", []OnNode{{State: fleet.Up, Carried: can}, {State: fleet.Up, Carried: has}}, true},
		{"nobody can", []OnNode{{State: fleet.Up, Carried: failed}, {State: fleet.Down, Carried: can}}, true},
		{"no nodes", nil, true},
	} {
		if got := (Status{Nodes: test.nodes}).Taken(); got != test.want {
			t.Errorf("%s: %t", test.what, got)
		}
	}
}
