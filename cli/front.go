package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"bramble/fault"
	"bramble/front"
)

type frontCmd struct {
	Serve frontServeCmd `cmd:"" help:"Balance visitors over web servers from this process alone, without a cluster."`
}

type frontServeCmd struct {
	Listen  []string      `help:"Where visitors come: [ADDRESS]:PORT; can be repeated." default:":8080" placeholder:"[ADDR]:PORT"`
	Backend []string      `help:"A web server: http://HOST:PORT, and after commas weight=N, set=N, route=NAME, name=NAME, standby, spare, host=NAME, path=/PREFIX; can be repeated." required:"" sep:"none" placeholder:"URL"`
	Balance front.Balance `help:"How to choose: ${enum}." enum:"two-choices,byrequests,bytraffic,bybusyness" default:"two-choices"`
	Sticky  string        `help:"Cookie, or parameter of an address, that names a member's route." placeholder:"NAME"`
	Check   string        `help:"Ask members for this path, and take those out that do not answer well. A connection is tried without." placeholder:"/PATH"`
	Every   time.Duration `help:"How often members are looked at; 0: never, requests alone tell." default:"250ms"`
	Timeout time.Duration `help:"How long a member may take to begin its answer." default:"60s"`
	Slow    time.Duration `name:"slow-start" help:"How long a member that comes back takes to its whole share." default:"0s"`
	FailOn  []int         `help:"Statuses of answers that count as failures: another member is asked." placeholder:"STATUS"`
	Trust   []string      `help:"Proxies whose X-Forwarded fields are passed on: addresses or networks." placeholder:"ADDR|NET"`
}

func (frontServeCmd) Examples() string {
	return "bramble front serve --listen 127.0.0.1:8080 --backend http://127.0.0.1:9001,weight=2 --backend http://127.0.0.1:9002\n" +
		"bramble front serve --backend http://10.0.0.11,route=a --backend http://10.0.0.12,route=b --sticky ROUTE --check /\n"
}

func (c *frontServeCmd) Run(e *env) error {
	spec, err := c.spec(e.ctx)
	if err != nil {
		return err
	}
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, at := range c.Listen {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return fault.New(fault.Conflict, "cannot listen on %s: %w", at, plainly(err)).Hint("--listen :8081")
		}
		listeners = append(listeners, l)
		fmt.Fprintf(e.out.Stderr, "listening on http://%s\n", l.Addr())
	}
	s := &front.Server{Spec: spec, Log: slog.New(slog.NewTextHandler(e.out.Stderr, nil))}
	return s.Run(e.ctx, listeners...)
}

// plainly is what went wrong with an address, without the address.
func plainly(err error) error {
	for {
		op, ok := err.(*net.OpError)
		if !ok {
			return err
		}
		err = op.Err
	}
}

func (c *frontServeCmd) spec(ctx context.Context) (front.Spec, error) {
	common := front.Pool{Balance: c.Balance, Sticky: c.Sticky, Slow: c.Slow, FailOn: c.FailOn, Wait: c.Timeout,
		Check: front.Check{Path: c.Check, Interval: c.Every}}
	if c.Every <= 0 {
		common.Check.Interval = -1
	}
	if c.Check != "" && c.Check[0] != '/' {
		return front.Spec{}, fault.New(fault.Misused, "--check %s: a path begins with /", c.Check).Hint("--check /")
	}
	var backends []front.Backend
	for _, text := range c.Backend {
		b, err := front.ParseBackend(text)
		if err != nil {
			return front.Spec{}, err
		}
		backends = append(backends, b)
	}
	pools, err := front.Pools(ctx, backends, common)
	if err != nil {
		return front.Spec{}, err
	}
	spec := front.Spec{Pools: pools}
	for _, text := range c.Trust {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return front.Spec{}, fault.New(fault.Misused, "--trust %s: this is no address or network", text).Hint("--trust 10.0.0.0/8")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		spec.Trusted = append(spec.Trusted, p.Masked())
	}
	return spec, nil
}
