package artefact

import (
	"bytes"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// Who asks with courtesy gets a trickle while visitors take all, and all again when they have gone; who does not is not slowed down.
func TestCourtesyYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const link = 1e6 // bytes a second
		begun, visiting := time.Now(), true
		c := &Courtesy{Visitors: func() int64 {
			if !visiting {
				return 0
			}
			return int64(time.Since(begun).Seconds() * link)
		}}
		give := func(n int) time.Duration {
			r := httptest.NewRequest("GET", "/", nil)
			out := httptest.NewRecorder()
			begun := time.Now()
			data := bytes.Repeat([]byte{1}, n)
			if _, err := (&courteous{out, c, r, time.Minute}).Write(data); err != nil || out.Body.Len() != n {
				t.Errorf("%d of %d bytes are given: %v", out.Body.Len(), n, err)
			}
			return time.Since(begun)
		}
		give(1)
		time.Sleep(courtesyEvery)
		give(1)
		if took := give(link); took < 20*time.Second || took > 40*time.Second {
			t.Errorf("beside visitors who take all, a second's worth took %s", took)
		}
		visiting = false
		time.Sleep(courtesyEvery)
		give(1)
		time.Sleep(courtesyEvery)
		give(1)
		if took := give(10 * link); took > 2*time.Second {
			t.Errorf("without visitors, ten seconds' worth took %s", took)
		}
	})
}

func TestLinkShare(t *testing.T) {
	const link = 12_500_000.0 // bytes a second: 100 Mbit/s
	known := linkShare{link: link}
	for name, c := range map[string]struct {
		was             linkShare
		visitors, given float64
		limit           [2]float64 // of the link, between these
	}{
		"nobody visits":                         {known, 0, link, [2]float64{0, 0}},
		"nobody visits any more":                {linkShare{link, link / 32}, 0, link / 32, [2]float64{0, 0}},
		"a few visits":                          {known, link / 100, link * 99 / 100, [2]float64{0.92, 0.94}},
		"a fair share, which may be too little": {known, link / 2, link / 2, [2]float64{0.03, 0.04}},
		"a third of it beside two that give":    {known, link / 3, link * 2 / 3, [2]float64{0.25, 0.30}},
		"all of it":                             {linkShare{link, link / 32}, link * 31 / 32, link / 32, [2]float64{0.03, 0.04}},
		"a link that has become slower":         {linkShare{link, link / 2}, link / 10, link / 10, [2]float64{0.006, 0.007}},
	} {
		got := c.was.next(c.visitors, c.given).limit / link
		if got < c.limit[0] || got > c.limit[1] {
			t.Errorf("%s: the limit is %.3f of the link", name, got)
		}
	}
	if got := (linkShare{}).next(1, 0).limit; got != MinLimit {
		t.Errorf("of a link of which nothing is known %f is given", got)
	}
}

// TestLinkShareSettles has visitors and a spread share a link by turns, as connections do, of which each gets as much as another.
func TestLinkShareSettles(t *testing.T) {
	const link = 1e7
	for name, c := range map[string]struct {
		visitors, givers float64 // connections
		demand           float64 // of the visitors, of the link
		least            float64 // that they get, of what they could have alone
		use              float64 // of the link, at least
	}{
		"one who takes all, beside one":  {1, 1, 1, 0.9, 0.95},
		"one who takes all, beside four": {1, 4, 1, 0.9, 0.95},
		"ten who take all, beside one":   {10, 1, 1, 0.9, 0.95},
		"one who takes a quarter":        {1, 1, 0.25, 0.99, 0.7},
		"one who takes a tenth, of four": {1, 4, 0.1, 0.95, 0.8},
		"nobody":                         {0, 4, 0, 0, 0.99},
	} {
		share := linkShare{}
		var visited, given float64
		const looks, settling = 400, 40
		for i := range looks {
			want, most := c.demand*link, link*1.0
			if share.limit > 0 {
				most = share.limit
			}
			fair := link * c.visitors / (c.visitors + c.givers)
			v := min(want, max(fair, link-most))
			g := min(most, link-v)
			if i >= settling {
				visited, given = visited+v, given+g
			}
			share = share.next(v, g)
		}
		n := float64(looks-settling) * link
		if visited < c.least*c.demand*n || visited+given < c.use*n {
			t.Errorf("%s: visitors get %.3f of the link, which is used for %.3f", name, visited/n, (visited+given)/n)
		}
	}
}
