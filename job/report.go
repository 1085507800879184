package job

import (
	"context"
	"time"

	"bramble/bus"
)

// reporter tells the head what became of attempts, as much at once as has gathered, and what is held when asked.
// A report that fails is made again; results stay until the head says that they are safe.
func (n *Node) reporter(ctx context.Context) {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.news:
		case <-n.greet:
			n.sayAgain()
			if err := n.sayAll(ctx); err == nil {
				err = n.hello(ctx)
				if err == nil {
					continue
				}
			}
			n.later(ctx, retry, n.greet)
			continue
		case <-retry.C:
		}
		if err := n.sayAll(ctx); err != nil {
			n.later(ctx, retry, n.news)
		}
	}
}

// later has the reporter try again in a while, unless the connection comes back first.
func (n *Node) later(ctx context.Context, retry *time.Timer, what chan struct{}) {
	select {
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
	signal(what)
	retry.Reset(time.Hour)
}

// sayAgain has every result reported that the head has not said is safe.
func (n *Node) sayAgain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unsaid = n.unsaid[:0]
	for k := range n.results {
		n.unsaid = append(n.unsaid, k)
	}
}

// sayAll reports until nothing is left to say.
func (n *Node) sayAll(ctx context.Context) error {
	for {
		r, keys := n.nextReport()
		if len(r.Results)+len(r.Started)+len(r.Rejected) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := n.Conn.Call(ctx, bus.From("job", n.Conn.Who().Name, "report"), r, nil)
		cancel()
		if err != nil {
			n.Log.Debug("report", "error", err)
			n.mu.Lock()
			n.unsaid = append(keys, n.unsaid...)
			n.owed.Started = append(r.Started, n.owed.Started...)
			n.owed.Rejected = append(r.Rejected, n.owed.Rejected...)
			n.owed.Reason = r.Reason
			n.mu.Unlock()
			return err
		}
	}
}

// nextReport takes what is to be said and fits one message.
func (n *Node) nextReport() (report, []Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.owed
	n.owed = report{}
	size, taken := 0, 0
	for _, k := range n.unsaid {
		res := n.results[k]
		if res != nil {
			size += 600 + (len(res.Stdout)+len(res.Stderr))*4/3
			if size > bus.MaxMessage/2 && taken > 0 {
				break
			}
			r.Results = append(r.Results, *res)
		}
		taken++
	}
	keys := n.unsaid[:taken:taken]
	n.unsaid = n.unsaid[taken:]
	return r, keys
}

// hello says what is held: what runs, what waits, and what has ended without the head having heard of it.
func (n *Node) hello(ctx context.Context) error {
	n.mu.Lock()
	c := census{Cores: n.Cores, Memory: n.Memory, Held: []Held{}}
	for _, a := range n.slots.running {
		c.Held = append(c.Held, Held{Attempt: a})
	}
	for _, a := range n.slots.waiting {
		c.Held = append(c.Held, Held{Attempt: a, Waiting: true})
	}
	for _, k := range n.unsaid {
		spec := n.specs[k.Job]
		c.Held = append(c.Held, Held{Attempt: Attempt{Key: k, CPUs: spec.CPUs, Memory: spec.Memory}})
	}
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return n.Conn.Call(ctx, bus.From("job", n.Conn.Who().Name, "hello"), c, nil)
}

// outputChunk is how much of an output goes into one message, in bytes.
const outputChunk = 32 << 10

// output sends an attempt's output, and with Follow goes on until it has ended.
func (n *Node) output(ctx context.Context, _ bus.Caller, req outputRequest, out *bus.Stream) error {
	id := req.Key.String()
	for offset := req.Offset; ; {
		n.mu.Lock()
		running := find(n.slots.running, req.Key) >= 0
		n.mu.Unlock()
		data, err := n.Keeper.Output(ctx, id, req.Stream, offset, outputChunk)
		if err != nil {
			return err
		}
		if len(data) > 0 {
			if err := out.Send(data); err != nil {
				return err
			}
			offset += int64(len(data))
			continue
		}
		if !running || !req.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}
