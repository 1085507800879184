package job

import (
	"context"
	"time"

	"bramble/bus"
	"bramble/fault"
)

// reporter tells the head what became of attempts, as much at once as has gathered, and that the node is there.
// A report that fails is made again; results stay until the head says that they are safe.
func (n *Node) reporter(ctx context.Context) {
	const least, most = 250 * time.Millisecond, 5 * time.Second
	wait := least
	for {
		var greet bool
		select {
		case <-ctx.Done():
			return
		case <-n.news:
			n.gather(ctx)
		case <-n.greet:
			greet = true
		}
		err := n.sayAll(ctx)
		if err == nil && greet {
			err = n.tell(ctx, "hello", none{})
		}
		if err == nil {
			wait = least
			continue
		}
		n.Log.Debug("report", "error", err)
		select {
		case <-time.After(wait):
		case <-n.greet: // the connection is back
			greet = true
		case <-ctx.Done():
		}
		wait = min(2*wait, most)
		if greet {
			n.Greet()
		}
		signal(n.news)
	}
}

// gatherFor is how long a report waits for more while tasks queue up here, so that no slot idles meanwhile.
const gatherFor = 4 * time.Millisecond

func (n *Node) gather(ctx context.Context) {
	n.mu.Lock()
	behind := n.slots.waitCPUs > n.slots.Cores
	n.mu.Unlock()
	if behind {
		pause(ctx, gatherFor)
	}
}

func (n *Node) tell(ctx context.Context, verb string, what any) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return n.Conn.Call(ctx, bus.From("job", n.Conn.Who().Name, verb), what, nil)
}

// sayAll reports until nothing is left to say.
func (n *Node) sayAll(ctx context.Context) error {
	for {
		r, keys := n.nextReport()
		if len(r.Results)+len(r.Started)+len(r.Rejected) == 0 {
			return nil
		}
		if err := n.tell(ctx, "report", n.form(r)); err != nil {
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

// form is a report as the head reads it.
func (n *Node) form(r report) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.compact {
		return r.pack()
	}
	return r
}

// perReport is how many keys of one kind go into one message.
const perReport = 2000

// nextReport takes what is to be said and fits one message.
func (n *Node) nextReport() (report, []Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := report{Reason: n.owed.Reason}
	r.Started, n.owed.Started = part(n.owed.Started)
	r.Rejected, n.owed.Rejected = part(n.owed.Rejected)
	size, taken := 0, 0
	for _, k := range n.unsaid {
		res := n.results[k]
		if res != nil {
			size += n.sizeOf(res)
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

// sizeOf is about how many bytes a result takes in a report. n.mu is held.
func (n *Node) sizeOf(r *Result) int {
	if n.compact && r.quiet() {
		return 64
	}
	return 600 + 2*len(r.Error) + (len(r.Stdout)+len(r.Stderr))*4/3
}

func part(keys []Key) (now, later []Key) {
	n := min(perReport, len(keys))
	return keys[:n:n], keys[n:]
}

// outputChunk is how much of an output goes into one message, in bytes.
const outputChunk = 32 << 10

// output sends an attempt's output, and with Follow goes on until it has ended.
func (n *Node) output(ctx context.Context, _ bus.Caller, req outputRequest, out *bus.Stream) error {
	id := req.Key.String()
	for offset := req.Offset; ; {
		n.mu.Lock()
		held := n.slots.holds(req.Key)
		n.mu.Unlock()
		data, err := n.Keeper.Output(ctx, id, req.Stream, offset, outputChunk)
		if err != nil && !(held && fault.Is(err, fault.NotFound)) { // else it is being prepared
			return err
		}
		if len(data) > 0 {
			if err := out.Send(data); err != nil {
				return err
			}
			offset += int64(len(data))
			continue
		}
		if !held || !req.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}
