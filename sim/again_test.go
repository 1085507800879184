package sim

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bramble/fault"
)

func TestAgain(t *testing.T) {
	silent, refused := fault.New(fault.Unreachable, "no answer"), fault.New(fault.Denied, "no")
	for name, tt := range map[string]struct {
		answers []error
		asked   int
		cancel  time.Duration
	}{
		"at once":         {[]error{nil}, 1, 0},
		"the third time":  {[]error{silent, silent, nil}, 3, 0},
		"refused":         {[]error{silent, refused, nil}, 2, 0},
		"never":           {[]error{silent, silent, silent, silent, silent, silent}, joinTries, 0},
		"until cancelled": {[]error{silent, silent, silent, silent}, 2, joinPause + joinPause/2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, cancel)
				}
				asked := 0
				err := again(ctx, func() error { asked++; return tt.answers[asked-1] })
				if asked != tt.asked || !errors.Is(err, tt.answers[asked-1]) {
					t.Errorf("asked %d times, got %v", asked, err)
				}
			})
		})
	}
}
