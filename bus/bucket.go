package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"bramble/fault"
)

// Bucket is a small key-value table on the head's disk. Keys are dotted words; a value is on disk
// when Put returns. Only the head can open one.
type Bucket struct {
	name string
	kv   jetstream.KeyValue
}

// Bucket opens the room's table, making it if there is none.
func (c *Conn) Bucket(ctx context.Context, room string) (*Bucket, error) {
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", room, err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: room, History: 1, MaxValueSize: MaxMessage})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", room, err)
	}
	return &Bucket{name: room, kv: kv}, nil
}

// Get returns the value of key; fault.NotFound when there is none.
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, error) {
	e, err := b.kv.Get(ctx, key)
	if err != nil {
		return nil, b.fault("read", key, err)
	}
	return e.Value(), nil
}

// Put sets the value of key.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	_, err := b.kv.Put(ctx, key, value)
	return b.fault("write", key, err)
}

// Create sets the value of a key that has none; fault.Conflict when it has.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) error {
	_, err := b.kv.Create(ctx, key, value)
	return b.fault("create", key, err)
}

// Delete removes key and its value.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.fault("delete", key, b.kv.Purge(ctx, key))
}

// List returns every key that begins with prefix ("" or ending in a dot) and its value.
func (b *Bucket) List(ctx context.Context, prefix string) (map[string][]byte, error) {
	w, err := b.kv.Watch(ctx, prefix+">", jetstream.IgnoreDeletes())
	if err != nil {
		return nil, b.fault("list", prefix, err)
	}
	defer w.Stop()
	all := map[string][]byte{}
	for {
		select {
		case e := <-w.Updates():
			if e == nil {
				return all, nil
			}
			all[e.Key()] = e.Value()
		case <-ctx.Done():
			return nil, b.fault("list", prefix, ctx.Err())
		}
	}
}

func (b *Bucket) fault(did, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return fault.New(fault.NotFound, "%s has no %q", b.name, key)
	case errors.Is(err, jetstream.ErrKeyExists):
		return fault.New(fault.Conflict, "%s has %q already", b.name, key)
	}
	return fmt.Errorf("%s %s in bucket %s: %w", did, key, b.name, err)
}
