package trust

import (
	"os"
	"strings"
	"sync"
	"time"
)

// clockEvery is the least step of time that is worth a write to a board's SD card.
const clockEvery = time.Hour

// Clock is time for machines that may have no clock: the later of the system's time and
// the newest time that was told by someone trusted, which a file keeps over reboots.
// Deleting the file forgets a time that was wrong.
type Clock struct {
	path string

	mu     sync.Mutex
	newest time.Time // told, or read from the file
	at     time.Time // when that was, by the system's clock and its monotonic reading
	saved  time.Time // what the file says
}

// OpenClock reads the time stored in path. A file that is missing or makes no sense counts as no time stored.
func OpenClock(path string) *Clock {
	c := &Clock{path: path, at: time.Now()}
	text, err := os.ReadFile(path)
	if err != nil {
		return c
	}
	if stored, err := time.Parse(time.RFC3339, strings.TrimSpace(string(text))); err == nil {
		c.newest, c.saved = stored, stored
	}
	return c
}

// Now is the cluster's time as well as this machine can tell; it runs on from the newest time told.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.later(time.Now())
}

// Observe takes note of an authenticated time, such as the head's. It writes the file
// when the time is an hour or more past the stored one; the error is that of the write.
func (c *Clock) Observe(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); t.After(c.later(now)) {
		c.newest, c.at = t, now
	}
	if t.Sub(c.saved) < clockEvery {
		return nil
	}
	if err := WriteFile(c.path, []byte(t.UTC().Format(time.RFC3339)+"\n")); err != nil {
		return err
	}
	c.saved = t
	return nil
}

// later is the later of the two times at the system's moment now.
func (c *Clock) later(now time.Time) time.Time {
	if told := c.newest.Add(now.Sub(c.at)); told.After(now) {
		return told
	}
	return now
}
