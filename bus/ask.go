package bus

import (
	"context"
	"encoding/json"
	"iter"
)

// Ask opens a stream and yields what it brings, one T a message, until it ends; the last pair carries the error, if any.
func Ask[T any](ctx context.Context, c *Conn, subject string, req any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		s, err := c.Open(ctx, subject, req)
		if err != nil {
			yield(none, err)
			return
		}
		defer s.Close()
		for data, err := range s.Messages() {
			var v T
			if err == nil {
				err = json.Unmarshal(data, &v)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}
