package front

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"bramble/fault"
	"bramble/trust"
)

// Process carries a node's fronts, in a process of its own: visitors do not notice when the agent is replaced, nor when this process
// is, for the next one takes the listening sockets over.
type Process struct {
	Dir     string // of the node's orders, and of what is noted
	Host    string // the address of ports for which none is said; "": every link
	Version string
	Log     *slog.Logger

	life   context.Context
	mu     sync.Mutex
	fronts map[string]*carrier
	handed map[string]net.Listener // listening sockets of the process before, until they are used
	gone   bool                    // the sockets are another process's now
	ending sync.WaitGroup          // of fronts that are no more
}

// lastAnswers is how long who is connected to a process that was replaced may be so.
const lastAnswers = time.Hour

// Run serves until ctx ends, the agent says so, or another process has taken over and the last visitor is gone.
func (p *Process) Run(ctx context.Context) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	os.Chmod(p.Dir, 0o700)
	lock, err := p.takeOver(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, end := context.WithCancel(ctx)
	defer end()
	p.life, p.fronts = ctx, map[string]*carrier{}
	list, err := readOrders(p.Dir)
	if err != nil {
		p.Log.Error("the orders on the disk cannot be read", "error", err)
	}
	p.set(list.Fronts)
	l, err := listenControl(socketIn(p.Dir))
	if err != nil {
		return err
	}
	p.control(ctx, l, lock, end)
	if p.replaced() {
		p.rest(ctx)
	}
	p.set(nil)
	p.ending.Wait()
	return nil
}

// takeOver returns with the folder's lock: a process that has it is asked for that and for its sockets.
func (p *Process) takeOver(ctx context.Context) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(p.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p.handed = map[string]net.Listener{}
	for until := time.Now().Add(2 * askPatience); ; {
		if tryLock(lock) == nil {
			return lock, own(lock)
		}
		answer, files, err := talk(p.Dir, asked{Do: "take"})
		if err == nil && len(files) > 0 { // the lock comes with them, so that nobody else has it between two processes
			lock.Close()
			p.accept(answer.Doors, files[1:])
			return files[0], own(files[0])
		}
		if ctx.Err() != nil || time.Now().After(until) {
			lock.Close()
			return nil, fault.New(fault.Conflict, "another process carries the fronts of %s, and does not hand them over: %w", p.Dir, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// own writes into the lock whose it is, for who has to end that process.
func own(lock *os.File) error {
	lock.Truncate(0)
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return err
}

// accept takes listening sockets in.
func (p *Process) accept(doors []string, files []*os.File) {
	for i, f := range files {
		l, err := net.FileListener(f)
		f.Close()
		switch {
		case err != nil:
			p.Log.Error("a listening socket is lost", "error", err)
		case i >= len(doors):
			l.Close()
		default:
			p.handed[doors[i]] = l
		}
	}
}

// dropHanded closes what nobody uses.
func (p *Process) dropHanded() {
	for _, l := range p.handed {
		l.Close()
	}
	clear(p.handed)
}

// control answers the agent, and the next process, until the end or until that has taken over.
func (p *Process) control(ctx context.Context, l *net.UnixListener, lock *os.File, end func()) {
	ctx, over := context.WithCancel(ctx)
	defer over()
	attend(ctx, l, func(conn *net.UnixConn, ask asked) (goesOn bool) {
		goesOn = p.answer(conn, ask, lock, end)
		if p.replaced() {
			over()
		}
		return goesOn
	})
}

// answer answers one question. True is that the answer goes on.
func (p *Process) answer(conn *net.UnixConn, ask asked, lock *os.File, end func()) bool {
	answer := said{Version: p.Version}
	switch ask.Do {
	case "set":
		p.set(ask.Orders)
	case "heed":
		p.heed(ask.Loads)
	case "end":
		end()
	case "take":
		p.handOver(conn, lock)
		return false
	case "log":
		p.ending.Go(func() { p.sendLog(conn, ask.Log) })
		return true
	}
	p.mu.Lock()
	answer.Fronts = map[string]Carried{}
	for name, c := range p.fronts {
		answer.Fronts[name] = c.carried()
	}
	p.mu.Unlock()
	if err := answerWith(conn, answer, nil); err != nil {
		p.Log.Warn("the agent does not hear", "error", err)
	}
	return false
}

// handOver gives the listening sockets away, and takes no more visitors then.
func (p *Process) handOver(conn *net.UnixConn, lock *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var answer said
	files := []*os.File{lock}
	defer func() { closeAll(files[1:]) }()
	for _, c := range p.fronts {
		keys, more := c.sockets()
		answer.Doors, files = append(answer.Doors, keys...), append(files, more...)
	}
	if err := answerWith(conn, answer, files); err != nil {
		p.Log.Error("the next process does not hear", "error", err)
		return
	}
	p.gone = true
	for _, c := range p.fronts {
		c.leave()
		c.server.Retire()
	}
	lock.Close() // the other one has it
}

// heed tells fronts how busy nodes are.
func (p *Process) heed(loads map[string]float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.fronts {
		c.server.Heed(loads)
	}
}

// replaced reports whether another process has taken over.
func (p *Process) replaced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// rest waits for the last visitors.
func (p *Process) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastAnswers)
	defer cancel()
	for _, c := range p.fronts {
		c.outlast(ctx)
	}
}

// set carries orders out, and none but these.
func (p *Process) set(list []Order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	named := map[string]bool{}
	for _, o := range list {
		named[o.Name] = true
	}
	for name, c := range p.fronts {
		if !named[name] { // first, for another may want its ports
			p.ending.Go(c.close)
			delete(p.fronts, name)
		}
	}
	for _, o := range list {
		c := p.fronts[o.Name]
		if c != nil && !c.goesOn(o) {
			if old := c; old.direct != nil {
				old.close() // the next one begins where nothing is left
			} else {
				p.accept(old.sockets())
				p.ending.Go(func() { old.giveWay(p.life) })
			}
			c = nil
		}
		if c == nil {
			c = newCarrier(p, o)
			p.fronts[o.Name] = c
		}
		if c.order.Rev != o.Rev || c.failed != nil {
			c.set(o)
		}
	}
	p.dropHanded()
}

// ordersIn is the file of a folder's orders, which may have keys in it.
func ordersIn(dir string) string { return filepath.Join(dir, "orders.json") }

// readOrders reads what was wanted last; nothing is nothing.
func readOrders(dir string) (o orders, err error) {
	text, err := os.ReadFile(ordersIn(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	return o, err
}

// writeOrders keeps what is wanted.
func writeOrders(dir string, o orders) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return trust.WriteFile(ordersIn(dir), text)
}
