package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/bus"
	"bramble/trust"
)

const (
	recordSize = 200 // bytes, about a submission's
	writers    = 64  // at the same time, to see batches form
)

// journal measures the head's journal beside a bare loop of write and fsync on the same disk.
func (b *bench) journal(ctx context.Context, s *section) error {
	s.title = "The journal"
	s.how = fmt.Sprintf("Records of %d bytes, acknowledged when they are flushed in both copies, stream and log; the peer writes one file and flushes it after each record.", recordSize)
	b.say("journal: %s appends beside write and fsync", count(b.records))
	server, err := bus.StartServer(bus.ServerOptions{Name: "bench", Dir: filepath.Join(b.dir, "bus")})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	conn, err := server.Connect(trust.Identity{Kind: trust.KindHead, Name: "head"})
	if err != nil {
		return err
	}
	defer conn.Close()
	journal, _, err := conn.Journal(ctx, "bench", filepath.Join(b.dir, "log"))
	if err != nil {
		return err
	}
	defer journal.Close()
	bare, err := os.Create(filepath.Join(b.dir, "bare"))
	if err != nil {
		return err
	}
	defer bare.Close()
	record := bytes.Repeat([]byte{'r'}, recordSize)
	few := max(1, b.records/8) // what is done one by one
	append1 := &contender{name: "one writer", run: repeat(few, 1, func() error { return journal.Append(record) })}
	appendAll := &contender{name: "many writers", run: repeat(b.records, writers, func() error { return journal.Append(record) })}
	flush := &contender{name: "write and fsync", run: repeat(few, 1, func() error {
		if _, err := bare.Write(record); err != nil {
			return err
		}
		return bare.Sync()
	})}
	if err := warmUp(ctx, append1, appendAll, flush); err != nil {
		return err
	}
	if err := interleave(ctx, b.runs, append1, appendAll, flush); err != nil {
		return err
	}
	peer := fmt.Sprintf("write and fsync: %.0f/s", flush.rate(few))
	add := func(what string, rate float64) {
		s.add(row{what: what, figure: fmt.Sprintf("%.0f/s", rate), peer: peer, ratio: times(rate, flush.rate(few))})
	}
	add("one writer", append1.rate(few))
	add(fmt.Sprintf("%d writers at once", writers), appendAll.rate(b.records))
	return nil
}

// repeat times n calls of f, so many at the same time.
func repeat(n, atOnce int, f func() error) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		return timed(func() error {
			group, ctx := errgroup.WithContext(ctx)
			for w := range atOnce {
				group.Go(func() error {
					for i := w; i < n && ctx.Err() == nil; i += atOnce {
						if err := f(); err != nil {
							return err
						}
					}
					return ctx.Err()
				})
			}
			return group.Wait()
		})
	}
}
