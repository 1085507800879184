package trust_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bramble/trust"
)

// In a bubble the system's clock begins in 2000, as that of a board without a battery may.
func TestClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node", "clock")
	synctest.Test(t, func(t *testing.T) {
		clock := trust.OpenClock(path)
		if !clock.Now().Equal(time.Now()) {
			t.Errorf("told nothing, it says %v", clock.Now())
		}
		told := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
		must(t, clock.Observe(told))
		must(t, clock.Observe(told.Add(-time.Hour)))
		if got := clock.Now(); !got.Equal(told) {
			t.Errorf("told %v, it says %v", told, got)
		}
		time.Sleep(10 * time.Minute)
		if got := clock.Now(); !got.Equal(told.Add(10 * time.Minute)) {
			t.Errorf("ten minutes later it says %v", got)
		}
		if got := trust.OpenClock(path).Now(); !got.Equal(told) {
			t.Errorf("after a reboot it says %v", got)
		}
		time.Sleep(100 * 365 * 24 * time.Hour)
		if got := trust.OpenClock(path).Now(); !got.Equal(time.Now()) {
			t.Errorf("with a good system clock it says %v", got)
		}
	})
}

func TestClockSparesTheCard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	clock := trust.OpenClock(path)
	told := time.Date(2126, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		after  time.Duration
		writes bool
	}{{0, true}, {time.Minute, false}, {58 * time.Minute, false}, {time.Minute, true}, {30 * time.Minute, false}, {2 * time.Hour, true}, {-9 * time.Hour, false}} {
		told = told.Add(step.after)
		must(t, os.RemoveAll(path))
		must(t, clock.Observe(told))
		_, err := os.Stat(path)
		if wrote := err == nil; wrote != step.writes {
			t.Errorf("at %v it wrote: %v", told, wrote)
		}
	}
}

func TestClockFiles(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "nonsense", "\x00\x00\x00", strings.Repeat("9", 1<<16)} {
		path := filepath.Join(dir, "clock")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		clock := trust.OpenClock(path)
		if got := clock.Now(); time.Since(got) > time.Hour || time.Until(got) > time.Hour {
			t.Errorf("from %.10q it says %v", text, got)
		}
		must(t, clock.Observe(time.Now()))
	}
	blocked := filepath.Join(dir, "file")
	must(t, os.WriteFile(blocked, nil, 0o600))
	clock := trust.OpenClock(filepath.Join(blocked, "clock"))
	told := time.Now().Add(time.Hour * 5)
	if err := clock.Observe(told); err == nil {
		t.Error("a write that cannot be went unsaid")
	}
	if clock.Now().Before(told) {
		t.Error("a time that cannot be stored is forgotten")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
