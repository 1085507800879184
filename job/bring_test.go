package job

import (
	"reflect"
	"strings"
	"testing"
)

// What came back of an attempt is written as one text, in which no node can pass for another.
func TestReturnedText(t *testing.T) {
	for name, c := range map[string]struct {
		r    Result
		text string
		want []Return
	}{
		"one node":            {Result{Returns: "r1", Node: "a"}, "r1@a", []Return{{"a", "r1"}}},
		"nothing":             {Result{Node: "a"}, "@a", []Return{{"a", ""}}},
		"several":             {Result{Returns: "r1", Node: "a", Others: []Return{{"b", "r2"}, {"c", "r3"}}}, "r1@a r2@b r3@c", []Return{{"a", "r1"}, {"b", "r2"}, {"c", "r3"}}},
		"others only":         {Result{Node: "a", Others: []Return{{"b", "r2"}}}, "@a r2@b", []Return{{"a", ""}, {"b", "r2"}}},
		"names that are none": {Result{Returns: "r1", Node: "a", Others: []Return{{"../b", "r2"}, {"b r4@c", "r3"}}}, "r1@a", []Return{{"a", "r1"}}},
	} {
		got := c.r.returnedText()
		if list := readReturned(got); got != c.text || !reflect.DeepEqual(list, c.want) {
			t.Errorf("%s: %q, read as %v", name, got, list)
		}
	}
	long := Result{Node: "a"}
	for range 3 {
		long.Others = append(long.Others, Return{"b", strings.Repeat("r", maxReturned/2)})
	}
	if n := len(long.returnedText()); n > maxReturned {
		t.Errorf("%d bytes", n)
	}
}
