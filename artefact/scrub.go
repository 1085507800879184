package artefact

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"bramble/fault"
)

// ScrubEvery is in what time a node reads all that it holds, to see whether it is still what it was.
const ScrubEvery = 7 * 24 * time.Hour

const (
	// scrubTick is how long the scrubber rests between two looks at what is due.
	scrubTick = time.Minute
	// scrubRate is how many bytes a second it reads at most, so that it is not felt.
	scrubRate = 4 << 20
)

// scrubber reads a store's blobs one after the other, slowly, for ever.
type scrubber struct {
	s   *Store
	log *slog.Logger

	owed int64 // bytes read and not yet rested for
}

// period is in what time all is read; 0: never.
func (set Settings) period() time.Duration {
	switch {
	case set.Every < 0:
		return 0
	case set.Every == 0:
		return ScrubEvery
	}
	return time.Duration(set.Every) * time.Second
}

// scrubDue is how many bytes should have been read so long after the begin, of so many in all.
func scrubDue(elapsed, period time.Duration, total int64) int64 {
	if period <= 0 {
		return 0
	}
	return int64(float64(total) * min(1, elapsed.Seconds()/period.Seconds()))
}

func (c *scrubber) run(ctx context.Context) error {
	tick := time.NewTicker(scrubTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := c.step(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.log.Warn("blobs are not looked at", "error", err)
		}
	}
}

// step reads what is due by now.
func (c *scrubber) step(ctx context.Context, now time.Time) error {
	set := c.s.Settings()
	at, period := set.Scrub, set.period()
	if period == 0 {
		return nil
	}
	if at.Began.IsZero() || at.Began.After(now) { // the clock was set back
		at.Began = now
		return c.note(at)
	}
	if at.At == "" && at.Blobs > 0 { // all has been read
		if now.Sub(at.Began) < period {
			return nil
		}
		at = Scrub{Began: now, Ended: at.Ended, Passes: at.Passes}
	}
	due := scrubDue(now.Sub(at.Began), period, c.s.Used())
	for end := now.Add(scrubTick); time.Now().Before(end) && (at.Bytes < due || now.Sub(at.Began) >= period); {
		ended, err := c.next(ctx, &at)
		if err == nil && ended {
			c.log.Debug("all blobs have been looked at", "blobs", at.Blobs, "bytes", at.Bytes)
			at.At, at.Ended, at.Blobs = "", now, max(at.Blobs, 1)
			at.Passes++
			break
		}
		if err != nil {
			return errors.Join(err, c.note(at))
		}
	}
	return c.note(at)
}

// next reads the blob that follows; ended: there is none.
func (c *scrubber) next(ctx context.Context, at *Scrub) (ended bool, err error) {
	for ref, err := range c.s.refs(at.At) {
		if err != nil {
			return false, blame(err, "look through the store")
		}
		n, err := c.s.Copy(ctx, c.slowly(ctx), ref)
		if err != nil && !fault.Is(err, fault.NotFound) { // it has gone, or was damaged and has been moved away
			return false, err
		}
		at.At = ref
		at.Blobs++
		at.Bytes += n
		return false, nil
	}
	return true, nil
}

// note is called once a round: what is read again after a restart costs less than a card's wear.
func (c *scrubber) note(at Scrub) error { return c.s.Change(func(set *Settings) { set.Scrub = at }) }

// slowly takes bytes at the scrubber's rate.
func (c *scrubber) slowly(ctx context.Context) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		if c.owed += int64(len(p)); c.owed >= scrubRate/8 {
			pause(ctx, time.Duration(float64(c.owed)/scrubRate*float64(time.Second)))
			c.owed = 0
		}
		return len(p), ctx.Err()
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
