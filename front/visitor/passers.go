package visitor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Passers are people who each ask for a page once, by a connection of their own. Its fields do not change once Begin is called.
type Passers struct {
	URL   string
	Every time.Duration // one asks

	stop   context.CancelFunc
	asking sync.WaitGroup
	mu     sync.Mutex
	last   time.Time     // when the newest request was begun that was answered
	gap    time.Duration // the longest between two of them
	failed time.Time     // when the newest one was begun that was not
	row    int
}

// passing is how long one waits for an answer.
const passing = 5 * time.Second

// Begin lets them come until End, or until ctx ends.
func (p *Passers) Begin(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	client := &http.Client{Timeout: passing, Transport: &http.Transport{DisableKeepAlives: true}}
	p.asking.Go(func() {
		for ctx.Err() == nil {
			p.asking.Go(func() { p.ask(ctx, client) })
			rest(ctx, p.Every)
		}
	})
}

// End lets no more come, and those that are there go.
func (p *Passers) End() {
	p.stop()
	p.asking.Wait()
}

func (p *Passers) ask(ctx context.Context, client *http.Client) {
	begun := time.Now()
	err := get(ctx, client, p.URL)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.row = 0
		if begun.After(p.failed) {
			p.failed = begun
		}
	default:
		if p.row++; begun.After(p.last) {
			if !p.last.IsZero() {
				p.gap = max(p.gap, begun.Sub(p.last))
			}
			p.last = begun
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is answered by %s", url, res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// Row is how many answers came in a row, up to now.
func (p *Passers) Row() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.row
}

// Outage is the longest time between the beginnings of two requests that were answered, and when the newest one was begun that was
// not answered, zero for none; both since it was last asked.
func (p *Passers) Outage() (gap time.Duration, failed time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gap, failed = p.gap, p.failed
	p.gap, p.failed, p.row = 0, time.Time{}, 0
	return gap, failed
}
