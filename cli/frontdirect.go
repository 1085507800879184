package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"bramble/fault"
	"bramble/front/direct"
	"bramble/host"
	"bramble/metric"
	"bramble/term"
)

// serviceAddress is where visitors of a front with direct return come.
type serviceAddress struct {
	Address string `help:"The service address: one of the network that nobody has yet." env:"-" required:"" placeholder:"ADDR"`
	State   string `help:"State folder, for the note of what to undo." placeholder:"DIR" env:"BRAMBLE_STATE"`
}

// parse reads the address; the length of its network may be there and does not matter.
func (s serviceAddress) parse() (netip.Addr, error) {
	text, _, _ := strings.Cut(s.Address, "/")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, fault.New(fault.Misused, "--address %s: this is no address", s.Address).Hint("--address 10.0.0.100")
	}
	return a, direct.CheckAddress(a)
}

func (s serviceAddress) front() string {
	return filepath.Join(stateFolder(s.State), "direct-front.json")
}
func (s serviceAddress) member() string {
	return filepath.Join(stateFolder(s.State), "direct-member.json")
}

// directFlags are a front with direct return, in words.
type directFlags struct {
	serviceAddress `embed:""`
	Port           []uint16 `help:"Port of the address; can be repeated." default:"80"`
	On             string   `help:"Interface where visitors come and members are. The one in the address's network without." placeholder:"LINK"`
	Member         []string `help:"A member's own address, and after commas weight=N and name=NAME; can be repeated." sep:"none" placeholder:"ADDR"`
}

func (c *directFlags) spec() (s direct.Spec, err error) {
	if s.Address, err = c.parse(); err != nil {
		return s, err
	}
	s.Ports, s.Interface = c.Port, c.On
	for _, text := range c.Member {
		m, err := parseMember(text)
		if err != nil {
			return s, err
		}
		s.Members = append(s.Members, m)
	}
	if s.Interface == "" {
		s.Interface, err = direct.LinkFor(s.Address)
	}
	return s, err
}

func parseMember(text string) (m direct.Member, err error) {
	words := strings.Split(text, ",")
	if m.Address, err = netip.ParseAddr(words[0]); err != nil || !m.Address.Is4() {
		return m, fault.New(fault.Misused, "--member %s: %s is no IPv4 address", text, words[0]).Hint("--member 10.0.0.11,weight=2")
	}
	m.Name, m.Down = words[0], true // until it answers
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(value)
		switch {
		case key == "name" && value != "":
			m.Name = value
		case key == "weight" && err == nil && n >= 1 && n <= direct.MaxWeight:
			m.Weight = n
		default:
			return m, fault.New(fault.Misused, "--member %s: %q is neither weight=N, from 1 to %d, nor name=NAME", text, word, direct.MaxWeight).Hint("--member 10.0.0.11,weight=2")
		}
	}
	return m, nil
}

type frontDirectCmd struct {
	directFlags `embed:""`
	Every       time.Duration `help:"How often members are looked at." default:"250ms"`
	Metrics     string        `help:"Show metrics at http://ADDR/metrics, where ADDR is of this machine alone." placeholder:"ADDR:PORT"`
}

func (frontDirectCmd) Examples() string {
	return "bramble front direct --address 10.0.0.100 --on eth0 --member 10.0.0.11 --member 10.0.0.12,weight=2\n" +
		"bramble front direct --address 10.0.0.100 --port 80 --port 443 --member 10.0.0.11 --member 10.0.0.12\n"
}

func (c *frontDirectCmd) Run(e *env) (err error) {
	if len(c.Member) == 0 {
		return fault.New(fault.Misused, "a front needs members").Hint("--member 10.0.0.11")
	}
	s, err := c.spec()
	if err != nil {
		return err
	}
	if err := c.examine(e, s); err != nil {
		return err
	}
	f, err := direct.Start(e.ctx, c.front(), s)
	if err != nil {
		return err
	}
	defer func() {
		if undone := f.Close(); err == nil {
			err = undone
		}
	}()
	ctx, stop := context.WithCancel(e.ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	if c.Metrics != "" {
		l, err := loopback(c.Metrics)
		if err != nil {
			return err
		}
		set := &metric.Set{}
		directMetrics(ctx, f, set)
		others.Go(func() { serveMetrics(ctx, l, set) })
	}
	w := &direct.Watch{Front: f, Log: slog.New(slog.NewTextHandler(e.out.Stderr, nil)), Every: c.Every}
	w.Want(s)
	fmt.Fprintf(e.out.Stderr, "%s is here, on %s; Ctrl-C undoes it\n", s.Address, s.Interface)
	return w.Run(ctx)
}

// examine refuses where the machine itself cannot be such a front. Members may come later.
func (c *frontDirectCmd) examine(e *env, s direct.Spec) error {
	s.Members = nil
	facts, err := direct.ExamineFront(e.ctx, s)
	if err != nil {
		return err
	}
	return refuse(facts.Machine())
}

// refuse is the first thing that is bad, nil if nothing is.
func refuse(checks []host.Check) error {
	for _, check := range checks {
		if !check.OK {
			return fault.New(fault.Failed, "direct return cannot work here: %s", check.Text).Hint("%s", check.Try)
		}
	}
	return nil
}

func directMetrics(ctx context.Context, f *direct.Front, set *metric.Set) {
	collect := func(name, help, kind string, value func(direct.Count) float64) {
		set.Collect(name, help, kind, func(emit metric.Emit) {
			counts, _ := f.Counts(ctx)
			for _, c := range counts {
				emit(value(c), "member", c.Name)
			}
		})
	}
	collect("bramble_front_direct_packets_total", "Packets of visitors that went to a member since it is up.", "counter", func(c direct.Count) float64 { return float64(c.Packets) })
	collect("bramble_front_direct_bytes_total", "Their bytes.", "counter", func(c direct.Count) float64 { return float64(c.Bytes) })
	collect("bramble_front_direct_flows", "Connections that a member has, or had a minute ago.", "gauge", func(c direct.Count) float64 { return float64(c.Flows) })
}

type frontDirectMemberCmd struct {
	serviceAddress `embed:""`
}

func (frontDirectMemberCmd) Examples() string {
	return "sudo bramble front direct-member --address 10.0.0.100\n"
}

func (c *frontDirectMemberCmd) Run(e *env) error {
	a, err := c.parse()
	if err != nil {
		return err
	}
	facts, err := direct.ExamineMember(e.ctx, a, 0)
	if err != nil {
		return err
	}
	if err := refuse(facts.Machine()); err != nil {
		return err
	}
	h, err := direct.Hold(a, c.member())
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stderr, "this machine answers at %s; Ctrl-C undoes it\n", a)
	<-e.ctx.Done()
	return h.Close()
}

type frontDoctorCmd struct {
	State   string   `help:"State folder, where it is written what to undo." placeholder:"DIR" env:"BRAMBLE_STATE"`
	Address string   `help:"The service address." env:"-" placeholder:"ADDR"`
	Port    []uint16 `help:"Port of the address." default:"80"`
	On      string   `help:"Interface where visitors come and members are." placeholder:"LINK"`
	Member  []string `help:"A member; can be repeated. Without one this machine is looked at as a member, not as the front." sep:"none" placeholder:"ADDR"`
	Undo    bool     `help:"Undo what a front or a member left here that was killed."`
	JSON    bool     `help:"Print a JSON list."`
}

func (frontDoctorCmd) Examples() string {
	return "bramble front doctor --address 10.0.0.100 --member 10.0.0.11 --member 10.0.0.12   # on the front\n" +
		"bramble front doctor --address 10.0.0.100   # on a member\n" +
		"sudo bramble front doctor --undo\n"
}

func (c *frontDoctorCmd) Run(e *env) error {
	at := serviceAddress{Address: c.Address, State: c.State}
	if c.Undo {
		return undoDirect(e, at)
	}
	if c.Address == "" {
		return fault.New(fault.Misused, "front doctor needs an --address to look at, or --undo").Hint("bramble front doctor --address 10.0.0.100 --member 10.0.0.11")
	}
	checks, err := c.look(e, at)
	if err != nil {
		return err
	}
	if c.JSON {
		err = term.JSON(e.out.Stdout, checks)
	} else {
		err = printChecks(e.out.Stdout, checks)
	}
	if err != nil {
		return err
	}
	if refuse(checks) != nil {
		return exitStatus(1)
	}
	return nil
}

// look is at the front where there are members, else at a member.
func (c *frontDoctorCmd) look(e *env, at serviceAddress) ([]host.Check, error) {
	if len(c.Member) > 0 {
		flags := directFlags{serviceAddress: at, Port: c.Port, On: c.On, Member: c.Member}
		s, err := flags.spec()
		if err != nil {
			return nil, err
		}
		facts, err := direct.ExamineFront(e.ctx, s)
		return facts.Checks(), err
	}
	a, err := at.parse()
	if err != nil {
		return nil, err
	}
	facts, err := direct.ExamineMember(e.ctx, a, c.Port[0])
	return facts.Checks(), err
}

// undoDirect has this machine as it was before direct return.
func undoDirect(e *env, at serviceAddress) error {
	any := false
	for _, part := range []struct {
		what, file string
		undo       func(string) (bool, error)
	}{{"the front's half", at.front(), direct.Undo}, {"a member's half", at.member(), direct.Release}} {
		undone, err := part.undo(part.file)
		if err != nil {
			return err
		}
		if undone {
			any = true
			fmt.Fprintf(e.out.Stderr, "undone: %s\n", part.what)
		}
	}
	if !any {
		fmt.Fprintln(e.out.Stderr, "nothing is left to undo")
	}
	return nil
}
