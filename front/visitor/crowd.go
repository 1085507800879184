// Package visitor imitates people who visit a web server: they ask again and again, and notice what goes wrong.
package visitor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Crowd asks for a page over connections that it keeps, as many at a time as there are visitors. Its fields do not change once Begin is called.
type Crowd struct {
	At    string // ADDRESS:PORT
	Path  string
	Many  int           // of them
	Pause time.Duration // of each between an answer and its next request
	Right func(body []byte) bool

	stop    context.CancelFunc
	running sync.WaitGroup
	answers atomic.Int64
	failed  atomic.Int64
	worst   atomic.Int64 // nanoseconds
	mu      sync.Mutex
	first   error
}

// longest is how long a visitor waits for an answer.
const longest = time.Minute

// Begin lets them begin. They go on until End, or until ctx ends.
func (v *Crowd) Begin(ctx context.Context) {
	ctx, v.stop = context.WithCancel(ctx)
	for range v.Many {
		v.running.Go(func() {
			for ctx.Err() == nil {
				if err := v.converse(ctx); err != nil && ctx.Err() == nil {
					v.fail(err)
					rest(ctx, 10*time.Millisecond)
				}
			}
		})
	}
}

// End lets them end, and returns the first thing that went wrong, nil if nothing did.
func (v *Crowd) End() error {
	v.stop()
	v.running.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.first
}

// Answers is how many were right so far, Failed how many were not, and Worst how long the longest took, failed or not, since
// it was last asked.
func (v *Crowd) Answers() int64       { return v.answers.Load() }
func (v *Crowd) Failed() int64        { return v.failed.Load() }
func (v *Crowd) Worst() time.Duration { return time.Duration(v.worst.Swap(0)) }

func (v *Crowd) fail(err error) {
	v.failed.Add(1)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.first == nil {
		v.first = err
	}
}

// converse asks over one connection until something goes wrong.
func (v *Crowd) converse(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", v.At)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r := bufio.NewReader(conn)
	for ctx.Err() == nil {
		begun := time.Now()
		conn.SetDeadline(begun.Add(longest))
		last, err := v.ask(conn, r)
		if ctx.Err() != nil {
			return nil
		}
		v.took(time.Since(begun))
		if err != nil {
			return err
		}
		v.answers.Add(1)
		rest(ctx, v.Pause)
		if last {
			return nil
		}
	}
	return nil
}

// ask asks once; last is that the server ends the connection with its answer.
func (v *Crowd) ask(conn net.Conn, r *bufio.Reader) (last bool, err error) {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", v.Path, v.At); err != nil {
		return false, err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return false, err
	case res.StatusCode != http.StatusOK || v.Right != nil && !v.Right(body):
		return false, fmt.Errorf("%s was answered by %s and %d bytes that are not the page", v.Path, res.Status, len(body))
	}
	return res.Close, nil
}

func (v *Crowd) took(d time.Duration) {
	for {
		was := v.worst.Load()
		if int64(d) <= was || v.worst.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}

func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
