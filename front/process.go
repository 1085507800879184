package front

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
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
	kept   map[string]string       // shared addresses that are here, by front, until they are used
	before *net.UnixConn           // with the process before, which has them too until it is closed; nil: there was none
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
	p.settle()
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
	p.handed, p.kept = map[string]net.Listener{}, map[string]string{}
	for until := time.Now().Add(2 * askPatience); ; {
		if tryLock(lock) == nil {
			return lock, own(lock)
		}
		given, err := p.take()
		if err == nil && given != nil { // it comes with the sockets, so that nobody else has it between two processes
			lock.Close()
			return given, own(given)
		}
		if ctx.Err() != nil || time.Now().After(until) {
			lock.Close()
			return nil, fault.New(fault.Conflict, "another process carries the fronts of %s, and does not hand them over: %w", p.Dir, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// take asks the process before for all that it has, and returns the folder's lock; nil: it gave none.
func (p *Process) take() (lock *os.File, err error) {
	conn, err := speak(socketIn(p.Dir), asked{Do: "take"})
	if err != nil {
		return nil, err
	}
	answer, files, err := answered(conn)
	if err != nil || len(files) == 0 {
		conn.Close()
		return nil, err
	}
	p.accept(answer.Doors, files[1:])
	maps.Copy(p.kept, answer.Held)
	p.before = conn
	return files[0], nil
}

// settle waits until the fronts have the addresses that are kept for them, and then until the process before has let go of all.
func (p *Process) settle() {
	if p.before == nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.life, handing)
	defer cancel()
	for _, c := range p.fronts {
		c.shares.settle(ctx)
	}
	p.before.CloseWrite()
	p.before.SetDeadline(time.Now().Add(handing))
	p.before.Read(make([]byte, 1)) // which ends with the other side
	p.before.Close()
	p.before = nil
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
	clear(p.kept)
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
	answer := said{Held: map[string]string{}}
	files := []*os.File{lock}
	defer func() { closeAll(files[1:]) }()
	for name, c := range p.fronts {
		keys, more := c.sockets()
		answer.Doors, files = append(answer.Doors, keys...), append(files, more...)
		if has, _ := c.shares.stands(); has != "" {
			answer.Held[name] = has
		}
	}
	if err := answerWith(conn, answer, files); err != nil {
		p.Log.Error("the next process does not hear", "error", err)
		return
	}
	p.gone = true
	for _, c := range p.fronts {
		c.server.Retire()
		c.part()
	}
	lock.Close() // the other one has it
	conn.SetDeadline(time.Now().Add(handing))
	conn.Read(make([]byte, 1)) // which ends when the other one has the addresses, or is no more
	for _, c := range p.fronts {
		c.shares.hand()
	}
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
				p.keep(old, o)
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

// keep leaves a front's shared address where it is if that of the order has it too.
func (p *Process) keep(old *carrier, next Order) {
	has, _ := old.shares.stands()
	if a, _ := next.Doors.shared(); a != nil && a.Address.String() == has {
		old.shares.hand()
		p.kept[next.Name] = has
	}
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
