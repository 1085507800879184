package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/sim"
)

func milliseconds(all ...int) []time.Duration {
	var times []time.Duration
	for _, n := range all {
		times = append(times, time.Duration(n)*time.Millisecond)
	}
	return times
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		times []time.Duration
		want  time.Duration
	}{
		{nil, 0},
		{milliseconds(7), 7 * time.Millisecond},
		{milliseconds(9, 1, 5), 5 * time.Millisecond},
		{milliseconds(4, 1, 2, 100), 3 * time.Millisecond},
	} {
		before := append([]time.Duration(nil), c.times...)
		if got := median(c.times); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.times, got, c.want)
		}
		for i := range before {
			if c.times[i] != before[i] {
				t.Errorf("median changed the order of %v", before)
			}
		}
	}
}

// The page's p99 is sim's: of 100 runs the second slowest, of fewer the slowest.
func TestP99(t *testing.T) {
	var hundred []int
	for i := range 100 {
		hundred = append(hundred, 100-i)
	}
	if got := sim.Percentile(milliseconds(hundred...), 0.99); got != 99*time.Millisecond {
		t.Errorf("p99 of 1 to 100 is %v", got)
	}
	if got := sim.Percentile(milliseconds(hundred[:50]...), 0.99); got != 100*time.Millisecond {
		t.Errorf("p99 of 51 to 100 is %v", got)
	}
}

func TestInterleaveTakesTurns(t *testing.T) {
	var order strings.Builder
	player := func(name string) *contender {
		return &contender{name: name, run: func(context.Context) (time.Duration, error) {
			order.WriteString(name)
			return time.Duration(order.Len()) * time.Second, nil
		}}
	}
	a, b := player("a"), player("b")
	if err := interleave(t.Context(), 3, a, b); err != nil {
		t.Fatal(err)
	}
	if order.String() != "ababab" || len(a.took) != 3 || median(b.took) != 4*time.Second {
		t.Errorf("order %s, a took %v, b %v", order.String(), a.took, b.took)
	}
	if a.figure() != "3.00 s (1.00 s to 5.00 s)" || a.rate(6) != 2 {
		t.Errorf("figure %q, rate %v", a.figure(), a.rate(6))
	}
}

func TestInterleaveCutShort(t *testing.T) {
	for turns, content := range map[int]bool{enough - 1: false, enough: true} {
		ctx, cancel := context.WithCancel(t.Context())
		c := &contender{name: "slow", run: nil}
		c.run = func(ctx context.Context) (time.Duration, error) {
			if len(c.took) == turns {
				cancel()
			}
			return time.Second, ctx.Err()
		}
		err := interleave(ctx, 10, c)
		if content != (err == nil) || len(c.took) != turns || !content && !errors.Is(err, context.Canceled) {
			t.Errorf("after %d turns: %v, %d counted", turns, err, len(c.took))
		}
		cancel()
	}
}

func TestReadLaunches(t *testing.T) {
	took, turns := readLaunches("warm ssh 9\nhostname bramble 5\nhostname ssh 8\nlatency ssh 3\nhostname bramble 6\na warning of mpirun\nhostname ssh")
	if turns != 1 {
		t.Errorf("%d turns are whole", turns)
	}
	if got := took["hostname bramble"]; !slices.Equal(got, []time.Duration{5, 6}) {
		t.Errorf("bramble took %v", got)
	}
	if got := took["hostname ssh"]; !slices.Equal(got, []time.Duration{8}) {
		t.Errorf("ssh took %v", got)
	}
}

func TestAnswersOf(t *testing.T) {
	said := "Running 2s test @ http://127.0.0.1:80/1k\n  1 threads and 64 connections\n  106885 requests in 2.00s, 128.84MB read\nRequests/sec:  53000.00\n"
	if n, err := answersOf(said); n != 106885 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	for _, bad := range []string{"", "unable to connect", said + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", said + "  Non-2xx or 3xx responses: 5\n"} {
		if n, err := answersOf(bad); err == nil {
			t.Errorf("%q: got %d", bad, n)
		}
	}
}
