package web

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestCommon is of many who want an answer that costs much: it is asked for once, and again when it is old.
func TestCommon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s common[int]
		var asked atomic.Int32
		var work sync.WaitGroup
		fails := false
		do := func() (int, error) {
			time.Sleep(20 * time.Second)
			if n := asked.Add(1); !fails {
				return int(n), nil
			}
			return 0, errors.New("no")
		}
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.get(impatient, do, work.Go); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who does not wait: %v", err)
		}
		all := func(want int) {
			t.Helper()
			for range 10 {
				work.Go(func() {
					if n, err := s.get(t.Context(), do, work.Go); n != want || err != nil {
						t.Errorf("%d, %v; want %d", n, err, want)
					}
				})
			}
			work.Wait()
		}
		all(1)
		time.Sleep(keptFor - time.Second)
		all(1)
		time.Sleep(time.Second)
		all(2)
		time.Sleep(keptFor)
		fails = true
		if _, err := s.get(t.Context(), do, work.Go); err == nil {
			t.Error("no error")
		}
		fails = false
		time.Sleep(keptLook)
		all(4)
		s.fresh = time.Second
		time.Sleep(s.fresh)
		all(5)
	})
}
