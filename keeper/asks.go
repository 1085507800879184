package keeper

import (
	"context"
	"slices"
	"time"
)

// idsPart is how many IDs one request carries at most; they fit into a frame.
const idsPart = 10_000

// Start implements Keeper. When it fails some of the tasks may have been started.
func (c *Client) Start(ctx context.Context, tasks []Task) error {
	for _, part := range chunks(tasks) {
		if _, err := c.call(ctx, request{Do: "start", Tasks: part}); err != nil {
			return err
		}
	}
	return nil
}

// Signal implements Keeper.
func (c *Client) Signal(ctx context.Context, id, sig string) error {
	_, err := c.call(ctx, request{Do: "signal", ID: id, Signal: sig})
	return err
}

// List implements Keeper.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	w, err := c.call(ctx, request{Do: "list"})
	if err != nil {
		return nil, err
	}
	return w.statuses, nil
}

// Queues implements Queue.
func (c *Client) Queues() bool { return c.Peer() >= 3 }

// Withdraw implements Queue.
func (c *Client) Withdraw(ctx context.Context, ids []string) error {
	return c.inParts(ctx, "withdraw", ids)
}

// TakesLimits implements Limiter.
func (c *Client) TakesLimits() bool { return c.Peer() >= 4 }

// Limit implements Limiter.
func (c *Client) Limit(ctx context.Context, ids []string, timeout time.Duration) error {
	for part := range slices.Chunk(ids, idsPart) {
		if _, err := c.call(ctx, request{Do: "limit", IDs: part, Timeout: timeout}); err != nil {
			return err
		}
	}
	return nil
}

// Forget implements Keeper.
func (c *Client) Forget(ctx context.Context, ids []string) error {
	return c.inParts(ctx, "forget", ids)
}

// inParts asks something about many tasks.
func (c *Client) inParts(ctx context.Context, what string, ids []string) error {
	for part := range slices.Chunk(ids, idsPart) {
		if _, err := c.call(ctx, request{Do: what, IDs: part}); err != nil {
			return err
		}
	}
	return nil
}

// Output implements Keeper.
func (c *Client) Output(ctx context.Context, id, stream string, offset int64, max int) ([]byte, error) {
	var out []byte
	for {
		r := request{Do: "output", ID: id, Stream: stream, Offset: offset + int64(len(out)), Max: max - len(out)}
		w, err := c.call(ctx, r)
		if err != nil {
			return nil, err
		}
		if len(out) == 0 && len(w.tail) == max {
			return w.tail, nil
		}
		out = append(out, w.tail...)
		if len(w.tail) == 0 || len(out) >= max {
			return out, nil
		}
	}
}

// Ended implements Keeper, over a connection of its own: one who reads slowly holds up nobody else.
func (c *Client) Ended(ctx context.Context) (<-chan []Status, error) {
	conn, reader, _, err := dial(ctx, c.socket)
	if err != nil {
		return nil, err
	}
	frame, err := encode(request{Number: 1, Do: "ended"}, nil)
	if err == nil {
		_, err = conn.Write(frame)
	}
	if err != nil {
		conn.Close()
		return nil, unreachable(c.socket, err)
	}
	batches := make(chan []Status)
	go func() {
		defer close(batches)
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		for {
			var a answer
			if _, err := decode(reader, &a); err != nil || a.Error != nil {
				return
			}
			select {
			case batches <- a.Statuses:
			case <-ctx.Done():
				return
			}
		}
	}()
	return batches, nil
}
