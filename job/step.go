package job

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"syscall"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
)

// A step is a command that a process of an allocation starts on a node of the allocation: its own agent finds the
// way there. No account, key or list of hosts is needed for it, and it ends with the allocation.

// Variables by which a process of an allocation finds its agent.
const (
	SocketVar = "BRAMBLE_JOB_SOCKET"
	SecretVar = "BRAMBLE_JOB_SECRET"
)

// StepCommand is a command to start on a node of one's own allocation.
type StepCommand struct {
	Node  string     `json:"node"` // "" is the node of who asks
	Args  []string   `json:"args"`
	Env   []string   `json:"env,omitempty"` // added to what the allocation's command has there
	Dir   string     `json:"dir,omitempty"` // from the root, or below the job's folder there, where it is made
	Stdin bool       `json:"stdin,omitempty"`
	TTY   *host.Size `json:"tty,omitempty"`
	Rank  Rank       `json:"rank,omitzero"`
}

// Rank says which of a step's processes one is; ranks of one step meet under its name.
type Rank struct {
	Step  string `json:"step,omitempty"` // made up by who starts the step; "" for one that needs no meeting
	Rank  int    `json:"rank,omitempty"`
	Ranks int    `json:"ranks,omitempty"` // how many there are
	Local int    `json:"local,omitempty"` // which of those on its node
	// Alone lets the others go on when this one is lost: a fence then waits for those that are left.
	Alone bool `json:"alone,omitempty"`
}

// StepRequest is the first frame to an agent.
type StepRequest struct {
	Secret string `json:"secret,omitempty"` // of the attempt on the node that is asked; not between agents
	Key    Key    `json:"key"`              // between agents
	Do     string `json:"do"`               // run, or what meet.go and cert.go answer
	StepCommand
	Meet
}

// stepEnd is the last frame: how the command ended, or why it did not run.
type stepEnd struct {
	Exit  host.Exit       `json:"exit"`
	Error *fault.Error    `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// err is the error that it carries, if any.
func (e *stepEnd) err() error {
	if e.Error == nil {
		return nil
	}
	return e.Error
}

func endOf(err error) stepEnd {
	if err == nil {
		return stepEnd{}
	}
	return stepEnd{Exit: host.Exit{Code: -1}, Error: fault.Of(err)}
}

// Inside is the allocation that a process belongs to.
type Inside struct {
	Socket, Secret string
	Node           string // where the process is
	Dir            string // the job's folder there
}

// Enter finds the allocation of this process by its environment; fault.Misused outside of one.
func Enter(getenv func(string) string) (Inside, error) {
	in := Inside{Socket: getenv(SocketVar), Secret: getenv(SecretVar), Node: getenv("BRAMBLE_NODE"), Dir: getenv(DirVar)}
	if in.Socket == "" || in.Secret == "" {
		return in, fault.New(fault.Misused, "this is not inside an allocation: no agent is to be asked").
			Hint("bramble submit --nodes 2 --ranks 4 -- COMMAND, which gives one")
	}
	return in, nil
}

// agentPatience is how long an agent may be away, which is being replaced.
const agentPatience = 5 * time.Second

// dialAgent connects to an agent's socket, when it is there.
func dialAgent(ctx context.Context, path string) (net.Conn, error) {
	d := net.Dialer{Timeout: 2 * agentPatience}
	for until := time.Now().Add(agentPatience); ; {
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(until) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// dial connects to the agent and makes the request.
func (in Inside) dial(ctx context.Context, req StepRequest) (net.Conn, *framer, error) {
	path, done, err := keeper.ShortPath(in.Socket)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	conn, err := dialAgent(ctx, path)
	if err != nil {
		return nil, nil, fault.New(fault.Unreachable, "the agent of %s does not answer: %w", in.Node, err).Hint("bramble nodes shows whether it is up")
	}
	req.Secret = in.Secret
	f := &framer{w: conn}
	if err := f.sendJSON(frameAsk, req); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, f, nil
}
