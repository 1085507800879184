package sim

import (
	"context"
	"time"

	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
)

// FanOut runs true on all the nodes, again and again, and tells for each time how long it took until the
// last had answered. A node that fails ends it.
func FanOut(ctx context.Context, c fan.Client, names []string, times int) ([]time.Duration, error) {
	request := fan.Request{On: fleet.Fold(names), Args: []string{"true"}}
	took := make([]time.Duration, 0, times)
	for range times {
		d, err := fanOut(ctx, c, request, len(names))
		if err != nil {
			return took, err
		}
		took = append(took, d)
	}
	return took, nil
}

func fanOut(ctx context.Context, c fan.Client, request fan.Request, nodes int) (time.Duration, error) {
	begun, ended := time.Now(), 0
	for ev, err := range c.Run(ctx, request, nil) {
		if err != nil {
			return 0, err
		}
		if ev.Kind != fan.Ended {
			continue
		}
		if !ev.End.OK() {
			return 0, fault.New(fault.Partial, "%s did not answer as it should: %s", ev.Node, ev.End.Error)
		}
		ended++
	}
	if ended != nodes {
		return 0, fault.New(fault.Partial, "only %d of %d nodes answered", ended, nodes)
	}
	return time.Since(begun), nil
}
