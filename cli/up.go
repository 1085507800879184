package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"bramble/agent"
	"bramble/apps/mpi"
	"bramble/cluster"
	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
	"bramble/term"
	"bramble/trust"
)

type upCmd struct {
	State   string `help:"State folder." placeholder:"DIR" env:"BRAMBLE_STATE"`
	Name    string `help:"Name of this node; the host name without."`
	Title   string `help:"Name of the cluster." placeholder:"NAME"`
	Address string `help:"IP address or host name where others reach this head."`
	Bus     string `help:"Listen address of the bus (default 0.0.0.0:7650)." placeholder:"HOST:PORT"`
	Peer    string `help:"Listen address for joining and files (default 0.0.0.0:7651)." placeholder:"HOST:PORT"`
	Web     string `help:"Listen address of the dashboard (default 0.0.0.0:7652)." placeholder:"HOST:PORT"`
	Work    string `help:"Folder for the files of tasks (default node/work in the state folder)." placeholder:"DIR" env:"BRAMBLE_WORK"`
	NoWork  bool   `help:"Take no jobs on this machine."`
	Keep    string `help:"How much this machine's two stores, the head's and its node's, each keep of files, from now on: the least recently used that nobody needs go first (bramble store set changes it later; 0: no limit)." placeholder:"SIZE" env:"-"`
	Once    bool   `help:"Only make the cluster; bramble service install runs it."`
	Log     string `help:"Least level that is logged: debug, info, warn or error." default:"warn" enum:"debug,info,warn,error"`
}

func (upCmd) Examples() string {
	return `bramble up                     # then type the line it prints on the other machines
bramble up --address 10.0.0.1  # where this machine has several addresses
`
}

func (c *upCmd) Run(e *env) error {
	state := stateFolder(c.State)
	conf, err := agent.ReadHead(agent.Layout(state), agent.HeadConfig{Cluster: c.Title, Name: c.Name, Address: c.Address,
		Bus: c.Bus, Peer: c.Peer, Web: c.Web, NoWork: c.NoWork})
	if err != nil {
		return err
	}
	if l := agent.Layout(state); l.IsNode() && !l.IsHead() {
		return fault.New(fault.Conflict, "%s is already a node of another cluster", state).Hint("bramble join to run it, or --state DIR for a new cluster")
	}
	if err := setKeep(state, true, c.Keep); err != nil {
		return err
	}
	o, machine := e.agentOptions(state, c.Log)
	defer machine.Close()
	o.Web, o.Work = serveWeb, workFolder(c.Work)
	if c.Once {
		return agent.MakeHead(o, conf)
	}
	o.Ready = func(i agent.Info) { go e.announce(i) }
	defer notified(e.ctx, &o)()
	defer settles()()
	defer restKeeper(state)
	defer e.tellFronts(state)
	return agent.RunHead(e.ctx, o, conf)
}

// setKeep does what --keep says; "": nothing.
func setKeep(state string, head bool, text string) error {
	if text == "" {
		return nil
	}
	n, err := keepSize(text)
	if err != nil {
		return err
	}
	return agent.SetKeep(agent.Layout(state), head, n)
}

// announce prints how others join, with a token made for them.
func (e *env) announce(i agent.Info) {
	s := e.out.Stdout
	fmt.Fprintf(s, "Cluster %s is up; its head is %s at %s.\n", s.Bold(i.Cluster), s.Bold(i.Name), i.Address)
	c, err := cluster.Open(e.ctx, i.State)
	if err == nil {
		defer c.Close()
		var token string
		token, _, err = c.Fleet.CreateToken(e.ctx, trust.TokenSpec{Kind: trust.KindNode})
		if err == nil {
			fmt.Fprintf(s, "\nType this on the other machines (the token lasts a day):\n\n  %s\n\n", s.Bold("bramble join "+joinAddress(i)+" --token "+token))
		}
	}
	if err != nil && e.ctx.Err() == nil {
		term.Report(e.out, fmt.Errorf("no token made: %w", err))
	}
	fmt.Fprintf(s, "Dashboard: %s (bramble ui signs you in)\n", i.Web)
}

// joinAddress leaves the usual port out.
func joinAddress(i agent.Info) string {
	if i.Peer == fmt.Sprintf("%s:%d", i.Address, 7651) {
		return i.Address
	}
	return i.Peer
}

// agentOptions are common to head and node on a real machine.
func (e *env) agentOptions(state, level string) (agent.Options, *host.Real) {
	machine := host.NewReal(host.RealOptions{StateDir: state})
	log := logger(level)
	return agent.Options{State: state, Dress: mpi.Dress, Version: e.version, Machine: machine, Log: log,
		Keeper: func(ctx context.Context) (keeper.Keeper, error) { return ensureKeeper(ctx, state) }, Front: startFronts}, machine
}

func logger(level string) *slog.Logger {
	var l slog.Level
	l.UnmarshalText([]byte(level))
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
}

// stateFolder is what --state says, made absolute, or the usual one.
func stateFolder(flag string) string {
	if flag == "" {
		return cluster.DefaultState()
	}
	return absolute(flag)
}

// workFolder is what --work says, made absolute.
func workFolder(flag string) string {
	if flag == "" {
		return ""
	}
	return absolute(flag)
}

// ensureKeeper finds the keeper of a state folder, or starts it.
func ensureKeeper(ctx context.Context, state string) (keeper.Keeper, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	l := agent.Layout(state)
	return keeper.Ensure(ctx, keeper.Launch{Socket: l.Socket(), Log: l.Node() + "/keeper.log", Exe: exe, Args: []string{"keeper", "--state", state}})
}
