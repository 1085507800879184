package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// contender is one of several that are measured in turns.
type contender struct {
	name string
	run  func(context.Context) (time.Duration, error)
	took []time.Duration
}

// enough is how many runs of each contender make a median.
const enough = 3

// warmUp runs each once, which does not count.
func warmUp(ctx context.Context, all ...*contender) error {
	for _, c := range all {
		if _, err := c.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// interleave lets all take turns, as often as runs says. When ctx ends after enough turns it is content with those.
func interleave(ctx context.Context, runs int, all ...*contender) error {
	for turn := range runs {
		for _, c := range all {
			d, err := c.run(ctx)
			if ctx.Err() != nil && turn >= enough {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s, turn %d of %d: %w", c.name, turn+1, runs, err)
			}
			c.took = append(c.took, d)
		}
	}
	return nil
}

// timed is how long f takes.
func timed(f func() error) (time.Duration, error) {
	begun := time.Now()
	err := f()
	return time.Since(begun), err
}

// median is the middle of the times; of an even number, the mean of the two in the middle.
func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// median of a contender's runs, with their range, in words.
func (c *contender) figure() string {
	if len(c.took) == 0 {
		return "—"
	}
	return fmt.Sprintf("%s (%s to %s)", duration(median(c.took)), duration(slices.Min(c.took)), duration(slices.Max(c.took)))
}

// rate is how many of n a second the median run did.
func (c *contender) rate(n int) float64 { return perSecond(n, median(c.took)) }

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
