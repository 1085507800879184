package job

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What nobody waits for is held back a moment for company, and no longer than until somebody waits.
func TestCommitsGather(t *testing.T) {
	patient, urgent := commit{patient: true}, commit{}
	for name, c := range map[string]struct {
		there []commit
		comes []commit // a third of a moment later each
		want  time.Duration
	}{
		"nothing":                {nil, nil, 0},
		"results alone":          {[]commit{patient}, nil, moreWithin},
		"more results":           {[]commit{patient}, []commit{patient}, moreWithin},
		"a submission":           {[]commit{urgent}, nil, 0},
		"one among results":      {[]commit{patient, urgent, patient}, nil, 0},
		"one after results":      {[]commit{patient}, []commit{patient, urgent}, 2 * moreWithin / 3},
		"results for a full one": {slices.Repeat([]commit{patient}, fullCommit), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWriter(nil, nil, 0, nil, quiet())
				for _, e := range c.there {
					w.add(e)
				}
				go func() {
					for _, e := range c.comes {
						time.Sleep(moreWithin / 3)
						w.add(e)
					}
				}()
				begun := time.Now()
				w.gather(t.Context())
				if took := time.Since(begun); took.Round(time.Microsecond) != c.want.Round(time.Microsecond) {
					t.Errorf("it waited %s, want %s", took, c.want)
				}
				time.Sleep(moreWithin) // until all have come
			})
		})
	}
}
