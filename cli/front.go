package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"bramble/fault"
	"bramble/front"
	"bramble/front/vrrp"
	"bramble/http1"
	"bramble/metric"
	"bramble/term"
)

type frontCmd struct {
	Status  frontStatusCmd  `cmd:"" default:"withargs" help:"Show fronts, where visitors come in, and how their members do."`
	Up      frontUpCmd      `cmd:"" help:"Put sites, or any web servers, behind one address on nodes of the cluster; or change what a front does."`
	Down    frontDownCmd    `cmd:"" help:"Take a front away."`
	Drain   frontDrainCmd   `cmd:"" help:"Send no new visitors to a member, and say when the last one has gone."`
	Enable  frontEnableCmd  `cmd:"" help:"Send visitors to a member again."`
	Disable frontDisableCmd `cmd:"" help:"Send nobody to a member any more, not even those who were there before; what is under way ends by itself."`
	Stop    frontStopCmd    `cmd:"" help:"As disable, and break off what is under way."`
	Weight  frontWeightCmd  `cmd:"" help:"Set what share of visitors a member gets."`
	Log     frontLogCmd     `cmd:"" help:"Show who visited, or who visits as they come."`
	Route   frontRouteCmd   `cmd:"" help:"Set the name by which cookies bring visitors back to a member."`

	Serve  frontServeCmd  `cmd:"" help:"Balance visitors over web servers from this process alone, without a cluster."`
	Import frontImportCmd `cmd:"" help:"Read a balancer's configuration of Apache or nginx, and print the command that does the same."`
	Export frontExportCmd `cmd:"" help:"Write a configuration of nginx or HAProxy that does the same as front serve with these flags."`

	Direct       frontDirectCmd       `cmd:"" help:"Let visitors in here, and have members answer them straight: direct return. It needs root, and one network."`
	DirectMember frontDirectMemberCmd `cmd:"" name:"direct-member" help:"On a member: answer at the service address of a front with direct return."`
	Doctor       frontDoctorCmd       `cmd:"" help:"Look at whether direct return can work here, and undo what a killed one left."`
}

// lookEvery is how often servers' names are looked up again.
const lookEvery = 30 * time.Second

type frontServeCmd struct {
	frontFlags `embed:""`
	Control    string `help:"Where front status, drain, weight and so on find this front with --control PATH: a socket for its owner alone." type:"path" placeholder:"PATH"`
	Address    string `help:"An address that fronts share, and after commas priority=N (100), on=INTERFACE, vrid=N. One of them has it; when that one dies another has it within a second, and connections that were open are lost." env:"-" placeholder:"ADDR/BITS"`
}

// frontFlags are what a front does, in words.
type frontFlags struct {
	Listen    []string `help:"Where visitors come: [ADDRESS]:PORT; can be repeated. :8080 where nothing else is said." placeholder:"[ADDR]:PORT"`
	ListenTLS []string `name:"listen-tls" help:"Where visitors come over TLS, with HTTP/2; can be repeated." placeholder:"[ADDR]:PORT"`
	Cert      []string `help:"Certificate chain in PEM, read again when it changes; can be repeated, and is chosen by its names." type:"path" sep:"none" placeholder:"FILE"`
	Key       []string `help:"Its key; as often as --cert." type:"path" sep:"none" placeholder:"FILE"`
	HTTPSOnly bool     `name:"https-only" help:"Send visitors without TLS to where it is."`
	acmeFlags `embed:""`

	Backend      []string `help:"A web server: http://HOST:PORT, or h2c://HOST:PORT for HTTP/2 without TLS, as gRPC has it; and after commas weight=N, set=N, route=NAME, name=NAME, standby, spare, host=NAME, path=/PREFIX; can be repeated." required:"" sep:"none" placeholder:"URL"`
	balanceFlags `embed:""`

	AccessLog string `help:"Note each request in this file, - for standard output. It is opened again at SIGHUP." placeholder:"FILE"`
	LogJSON   bool   `name:"log-json" help:"Note them as JSON, with the member that answered; else in the form that Apache calls combined."`
	Metrics   string `help:"Show metrics at http://ADDR/metrics, where ADDR is of this machine alone." placeholder:"ADDR:PORT"`

	visitorFlags `embed:""`
}

// balanceFlags are how members are chosen and looked after.
type balanceFlags struct {
	Balance front.Balance `help:"How to choose: ${enum}; the last one, by how busy nodes are, is for front up." enum:"two-choices,byrequests,bytraffic,bybusyness,heartbeat" default:"two-choices"`
	Sticky  string        `help:"Cookie, or parameter of an address, that names a member's route." placeholder:"NAME"`
	Check   string        `help:"Ask members for this path, and take those out that do not answer well. A connection is tried without." placeholder:"/PATH"`
	Every   time.Duration `help:"How often members are looked at; 0: never, requests alone tell." default:"250ms"`
	Timeout time.Duration `help:"How long a member may take to begin its answer, and to go on with it." default:"60s"`
	Slow    time.Duration `name:"slow-start" help:"How long a member that comes back takes to its whole share." default:"0s"`
	MaxBody string        `name:"max-body" help:"Refuse requests whose body is larger, as 64m, with 413; of a stream, as gRPC has, all of it counts. 0: any, for a front keeps nothing of them." default:"0" placeholder:"SIZE"`
	FailOn  []int         `help:"Statuses of answers that count as failures: another member is asked." placeholder:"STATUS"`
}

// visitorFlags are what visitors may do.
type visitorFlags struct {
	Rate    float64  `help:"Requests a second that one address may make; 0: any." default:"0"`
	Burst   int      `help:"How many of them at once." default:"50"`
	Conns   int      `name:"client-connections" help:"Connections that one address may have; 0: any." default:"256"`
	Trust   []string `help:"Proxies whose X-Forwarded fields are passed on: addresses or networks." placeholder:"ADDR|NET"`
	Proxied []string `name:"proxy-protocol" help:"Balancers before this front whose connections begin with who the visitor is, in the PROXY protocol, 1 or 2: addresses or networks." placeholder:"ADDR|NET"`
}

func (frontServeCmd) Examples() string {
	return "bramble front serve --listen 127.0.0.1:8080 --backend http://127.0.0.1:9001,weight=2 --backend http://127.0.0.1:9002\n" +
		"bramble front serve --backend http://10.0.0.11,route=a --backend http://10.0.0.12,route=b --sticky ROUTE --check /\n" +
		"bramble front serve --listen :80 --listen-tls :443 --cert site.crt --key site.key --https-only --backend http://10.0.0.11\n" +
		"bramble front serve --listen :80 --listen-tls :443 --acme-host shop.example --acme-email me@shop.example --backend http://10.0.0.11\n" +
		"bramble front serve --listen :80 --proxy-protocol 10.0.0.2 --backend http://10.0.0.11      # behind HAProxy with send-proxy-v2\n" +
		"bramble front serve --control /run/front.sock --backend http://10.0.0.11 --backend http://10.0.0.12   # and bramble front status --control /run/front.sock\n" +
		"bramble front serve --address 192.168.1.10/24 --listen 192.168.1.10:80 --backend http://192.168.1.11 --backend http://192.168.1.12\n" +
		"bramble front serve --address 192.168.1.10/24,priority=150,on=eth0 --listen :80 --backend http://192.168.1.11\n"
}

func (c *frontServeCmd) Run(e *env) error {
	spec, err := c.spec(e.ctx)
	if err != nil {
		return err
	}
	shared, err := c.shared()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(e.out.Stderr, nil))
	acme, err := c.acmeFlags.open(log)
	if err != nil {
		return err
	}
	listeners, secure, err := c.listen(e, acme, shared, log)
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	if err != nil {
		return err
	}
	s := &front.Server{Spec: spec, Log: log, Limits: http1.Limits{Address: c.Conns}, ACME: acme}
	if s.Proxies, err = networks("--proxy-protocol", c.Proxied); err != nil {
		return err
	}
	if c.HTTPSOnly {
		s.Spec.Secure = secure
	}
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	defer settles()()
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	if c.AccessLog != "" {
		to, err := openLog(e, c.AccessLog)
		if err != nil {
			return err
		}
		defer to.Close()
		others.Go(func() { to.reopen(ctx, log) })
		s.Access = &front.AccessLog{To: to, JSON: c.LogJSON}
	}
	if c.Metrics != "" {
		l, err := loopback(c.Metrics)
		if err != nil {
			return err
		}
		set := &metric.Set{}
		s.Register(set)
		others.Go(func() { serveMetrics(ctx, l, set) })
	}
	if c.Control != "" {
		alone, err := c.alone(s, listeners)
		if err != nil {
			return err
		}
		others.Go(func() { alone.Run(ctx) })
	}
	others.Go(func() { s.Follow(ctx, lookEvery, c.spec) })
	plain, secured := c.addresses(listeners)
	for _, at := range plain {
		fmt.Fprintf(e.out.Stderr, "listening on http://%s\n", at)
	}
	for _, at := range secured {
		fmt.Fprintf(e.out.Stderr, "listening on https://%s\n", at)
	}
	if shared != nil {
		return serveShared(ctx, s, *shared, listeners)
	}
	return s.Run(ctx, listeners...)
}

// listen opens the ports. Secure is the first one with TLS.
func (c *frontServeCmd) listen(e *env, acme *front.ACME, shared *vrrp.Options, log *slog.Logger) (all []net.Listener, secure int, err error) {
	var with *tls.Config
	if len(c.ListenTLS) > 0 {
		if len(c.Cert) == 0 && acme == nil {
			return nil, 0, fault.New(fault.Misused, "--listen-tls needs a certificate").Hint("--cert site.crt --key site.key, or --acme-host NAME")
		}
		certs, err := front.LoadCertificates(c.Cert, c.Key, log)
		if err != nil {
			return nil, 0, err
		}
		if with = certs.Config(); acme != nil {
			certs.Issued = &acme.Issued
		}
	}
	if acme != nil && (with == nil || len(c.Listen) == 0) {
		return nil, 0, fault.New(fault.Misused, "--acme-host needs a port without TLS, at which the CA asks, and one with it").Hint("--listen :80 --listen-tls :443")
	}
	if c.HTTPSOnly && with == nil {
		return nil, 0, fault.New(fault.Misused, "--https-only needs a port with TLS").Hint("--listen-tls :443 --cert site.crt --key site.key")
	}
	plain := c.Listen
	if len(plain) == 0 && with == nil {
		plain = []string{":8080"}
	}
	open := func(at string) (net.Listener, error) {
		if _, _, err := net.SplitHostPort(at); err != nil {
			return nil, fault.New(fault.Misused, "%.80q is no port, and no address with one", at).Hint("--listen :8080, or --listen 192.168.1.5:80")
		}
		l, err := front.Listen(e.ctx, at, shared)
		if err != nil {
			return nil, fault.New(fault.Conflict, "cannot listen on %s: %w", at, plainly(err)).Hint("--listen :8081")
		}
		return l, nil
	}
	for _, at := range plain {
		l, err := open(at)
		if err != nil {
			return all, 0, err
		}
		all = append(all, l)
	}
	for _, at := range c.ListenTLS {
		l, err := open(at)
		if err != nil {
			return all, 0, err
		}
		if secure == 0 {
			secure = l.Addr().(*net.TCPAddr).Port
		}
		all = append(all, tls.NewListener(l, with))
	}
	return all, secure, nil
}

// addresses are where listeners are, those with TLS by themselves.
func (c *frontServeCmd) addresses(listeners []net.Listener) (plain, secured []net.Addr) {
	for i, l := range listeners { // those with TLS are the last
		if i < len(listeners)-len(c.ListenTLS) {
			plain = append(plain, l.Addr())
		} else {
			secured = append(secured, l.Addr())
		}
	}
	return plain, secured
}

// loopback listens on this machine alone.
func loopback(at string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(at)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fault.New(fault.Misused, "--metrics %s: this is not an address of this machine alone", at).Hint("--metrics 127.0.0.1:9100")
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fault.New(fault.Conflict, "cannot listen on %s: %w", at, plainly(err)).Hint("--metrics 127.0.0.1:0")
	}
	return l, nil
}

// serveMetrics answers /metrics until ctx ends.
func serveMetrics(ctx context.Context, l net.Listener, set *metric.Set) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		set.Write(w)
	})
	server := &http1.Server{Fallback: mux, Loops: 1}
	server.Serve(ctx, l)
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

// common is what all pools have.
func (c *balanceFlags) common() (front.Pool, error) {
	p := front.Pool{Balance: c.Balance, Sticky: c.Sticky, Slow: c.Slow, FailOn: c.FailOn, Wait: c.Timeout,
		Check: front.Check{Path: c.Check, Interval: c.Every}}
	if c.Every <= 0 {
		p.Check.Interval = -1
	}
	if c.Check != "" && c.Check[0] != '/' {
		return p, fault.New(fault.Misused, "--check %s: a path begins with /", c.Check).Hint("--check /")
	}
	var err error
	if p.MaxBody, err = term.ParseBytes(c.MaxBody); err != nil {
		return p, fmt.Errorf("--max-body: %w", err)
	}
	return p, nil
}

// common is that of a front without a cluster.
func (c *frontFlags) common() (front.Pool, error) {
	if c.Balance == front.Heartbeat {
		return front.Pool{}, fault.New(fault.Misused, "--balance heartbeat: without a cluster nobody tells how busy members are").Hint("--balance bybusyness")
	}
	return c.balanceFlags.common()
}

// backends are the members, without their addresses.
func backends(texts []string) (all []front.Backend, err error) {
	for _, text := range texts {
		b, err := front.ParseBackend(text)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// networks are what a flag says, an address being a network of its own.
func networks(flag string, texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fault.New(fault.Misused, "%s %s: this is no address or network", flag, text).Hint("%s 10.0.0.0/8", flag)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

func (c *frontFlags) spec(ctx context.Context) (s front.Spec, err error) {
	common, err := c.common()
	if err != nil {
		return s, err
	}
	backends, err := backends(c.Backend)
	if err != nil {
		return s, err
	}
	if s.Pools, err = front.Pools(ctx, backends, common); err != nil {
		return s, err
	}
	s.Rate = front.Rate{Each: c.Rate, Burst: c.Burst}
	if err := s.Rate.Check(); err != nil {
		return s, err
	}
	s.Trusted, err = networks("--trust", c.Trust)
	return s, err
}
