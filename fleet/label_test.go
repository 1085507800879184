package fleet_test

import (
	"strings"
	"testing"

	"bramble/fault"
	"bramble/fleet"
)

func TestParseLabel(t *testing.T) {
	long := strings.Repeat("a", 63)
	good := map[string]fleet.LabelChange{
		"camera":             {Key: "camera"},
		"camera=":            {Key: "camera"},
		"camera-":            {Key: "camera", Remove: true},
		"camera=1":           {Key: "camera", Value: "1"},
		"camera=1-":          {Key: "camera", Value: "1-"},
		"a.b_c-d=A.b_C-9":    {Key: "a.b_c-d", Value: "A.b_C-9"},
		"rack-2":             {Key: "rack-2"},
		"models":             {Key: "models"},
		long + "=" + long:    {Key: long, Value: long},
		"camera=all":         {Key: "camera", Value: "all"},
		"camera=-":           {Key: "camera", Value: "-"},
		"a-":                 {Key: "a", Remove: true},
		"node1=x":            {Key: "node1", Value: "x"},
		"z9..=__":            {Key: "z9..", Value: "__"},
		long[:62] + "b" + "": {Key: long[:62] + "b"},
	}
	for text, want := range good {
		if got, err := fleet.ParseLabel(text); err != nil || got != want {
			t.Errorf("ParseLabel(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "=", "=1", "-", "1camera", "Camera", "cam era", "camera--", "camera-=1", "-camera", ".a", "_a", "a/b", "a=b=c", "a=b c",
		"a=é", "é", "a=\n", "a=[1]", "a,b", "!a", long + "a", "a=" + long + "a",
		"all", "model=pi3", "arch-", "role", "state=up", "name=x",
	} {
		if got, err := fleet.ParseLabel(text); !fault.Is(err, fault.Misused) || fault.Of(err).Try == "" || got != (fleet.LabelChange{}) {
			t.Errorf("ParseLabel(%q) = %+v, %v; want a misuse with a hint", text, got, err)
		}
	}
}

// Every label that can be set can be selected, and taken off again.
func TestLabelsCanBeSelected(t *testing.T) {
	for _, text := range []string{"camera=1", "rack-2=b.C_d-", "x", "z9..=__"} {
		l, err := fleet.ParseLabel(text)
		if err != nil {
			t.Fatal(err)
		}
		nodes := []fleet.Node{{Name: "node1", Labels: map[string]string{l.Key: l.Value}}, {Name: "node2"}}
		for _, on := range []string{text, l.Key} {
			s, err := fleet.ParseSelector(on)
			if err != nil || names(s.Match(nodes)) != "node1" {
				t.Errorf("%q selects %q, %v", on, names(s.Match(nodes)), err)
			}
		}
		if off, err := fleet.ParseLabel(l.Key + "-"); err != nil || off != (fleet.LabelChange{Key: l.Key, Remove: true}) {
			t.Errorf("%q cannot be taken off: %+v, %v", l.Key, off, err)
		}
	}
}
