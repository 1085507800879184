package cli

import (
	"cmp"
	"context"
	"net"

	"bramble/front"
	"bramble/front/vrrp"
)

// shared is what --address says, nil without it.
func (c *frontServeCmd) shared() (*vrrp.Options, error) {
	if c.Address == "" {
		return nil, nil
	}
	o, err := vrrp.Parse(c.Address)
	return &o, err
}

// serveShared serves while this front shares an address. At the end the address goes to another front before this one turns
// visitors away.
func serveShared(ctx context.Context, s *front.Server, o vrrp.Options, listeners []net.Listener) error {
	o.Healthy, o.Log = s.Well, s.Log
	sharing, leave := context.WithCancel(ctx)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	left := make(chan error, 1)
	go func() {
		left <- vrrp.Run(sharing, o)
		stop()
	}()
	err := s.Run(serving, listeners...)
	leave()
	return cmp.Or(<-left, err)
}
