package web

import (
	"context"

	"bramble/bus"
)

// Client asks a head about its dashboard.
type Client struct{ Conn *bus.Conn }

// Link returns a link that signs the asker in.
func (c Client) Link(ctx context.Context) (Link, error) {
	var link Link
	err := c.Conn.Call(ctx, "web.read.link", none{}, &link)
	return link, err
}
