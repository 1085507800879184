package job

import (
	"strings"
	"testing"

	"bramble/fault"
)

func TestFits(t *testing.T) {
	pi3 := Capacity{Name: "pi3", Cores: 4, Memory: 906 << 20}
	xeon := Capacity{Name: "xeon", Cores: 16, Memory: 512 << 20}
	for _, c := range []struct {
		spec      Spec
		nodes     []Capacity
		says, try string
	}{
		{Spec{CPUs: 4, Memory: 900 << 20}, []Capacity{pi3, xeon}, "", ""},
		{Spec{CPUs: 8}, []Capacity{pi3}, "no node has 8 cores: the largest, pi3, has 4", "--cpus 4"},
		{Spec{CPUs: 8, On: "rack1"}, []Capacity{pi3}, "no node of --on rack1 has 8 cores", "--cpus 4"},
		{Spec{CPUs: 1, Memory: 2 << 30}, []Capacity{xeon, pi3}, "no node has 2 GiB of memory: the largest, pi3, has 906 MiB", "--mem 906M"},
		{Spec{CPUs: 32, Memory: 2 << 30}, []Capacity{xeon, pi3}, "no node has 32 cores: the largest, xeon, has 16, and none has 2 GiB of memory: the largest, pi3, has 906 MiB", "--cpus 4 --mem 906M"},
		{Spec{CPUs: 8, Memory: 900 << 20}, []Capacity{xeon, pi3}, "no node has both 8 cores and 900 MiB of memory: xeon has 16 and 512 MiB, pi3 has 4 and 906 MiB", "--cpus 4 --mem 906M"},
		{Spec{CPUs: 1}, nil, "no node takes this job", "bramble nodes"},
	} {
		err := Fits(c.spec, c.nodes)
		if c.says == "" {
			if err != nil {
				t.Errorf("%+v: %v", c.spec, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(fault.Of(err).Try, c.try) {
			t.Errorf("got %v (try: %v), want %q (try: %s)", err, fault.Of(err), c.says, c.try)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		says string
	}{
		{Spec{Args: []string{"true"}}, ""},
		{Spec{Script: []byte("#!/bin/sh\n")}, ""},
		{Spec{}, "nothing to run"},
		{Spec{Args: []string{""}}, "name is empty"},
		{Spec{Args: []string{"true"}, Array: "9-1"}, "goes backwards"},
		{Spec{Args: []string{"true"}, CPUs: -1}, "-1 cores"},
		{Spec{Args: []string{"true"}, Memory: -1}, "negative"},
		{Spec{Args: []string{"echo", strings.Repeat("x", 10<<20)}}, "command, script and environment are 10 MiB; a job carries at most 512 KiB"},
	} {
		spec, err := c.spec.Validate()
		if c.says == "" {
			if err != nil || spec.CPUs != 1 {
				t.Errorf("%+v: %v with %d cores", c.spec, err, spec.CPUs)
			}
			continue
		}
		if !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), c.says) || fault.Of(err).Try == "" {
			t.Errorf("got %v, want a misuse with a hint that says %q", err, c.says)
		}
	}
}

func TestKey(t *testing.T) {
	k := Key{Job: 7, Index: 3, Attempt: 1}
	if got, err := ParseKey(k.String()); err != nil || got != k {
		t.Errorf("%s reads as %v: %v", k, got, err)
	}
	for _, text := range []string{"", "7.3", "7.3.0", "0.3.1", "7.-3.1", "7.3.1.2", "7.3.1 ", "07.3.1", "a.b.c"} {
		if k, err := ParseKey(text); err == nil {
			t.Errorf("%q reads as %v", text, k)
		}
	}
}
