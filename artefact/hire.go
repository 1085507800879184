package artefact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"bramble/fault"
	"bramble/host"
)

// Accounts tells whose rights a user's work has.
type Accounts interface {
	AccountFor(user string) string
	Account(name string) (host.Account, error)
}

// Starter starts processes, as a host.Host does.
type Starter interface {
	Start(host.Command) (host.Process, error)
}

// PorterGrace is what a porter has to remove half files when it is told to stop.
const PorterGrace = 5 * time.Second

// porter is the agent's end of one.
type porter struct {
	*socket
	proc   host.Process
	ended  chan host.Exit
	forget func() bool // stops watching the context
}

// account is whose rights count; without root it is our own.
func (n *Node) account(user, as string) (account host.Account, name string, err error) {
	if os.Geteuid() != 0 && as != "" {
		return account, "", fault.New(fault.Denied, "the agent on %s does not run as root, so nothing can be copied as root there", n.Conn.Who().Name).
			Hint("sudo bramble join … on that machine")
	}
	if name = cmp.Or(as, n.Accounts.AccountFor(user)); name == "" {
		return host.Account{Name: cmp.Or(os.Getenv("USER"), user), Home: os.Getenv("HOME"), Shell: os.Getenv("SHELL")}, "", nil
	}
	account, err = n.Accounts.Account(name)
	return account, name, err
}

// hire starts a porter with the rights of the user's account, or of root, and gives it its order. The caller
// dismisses it; when ctx ends it is told to stop.
func (n *Node) hire(ctx context.Context, user, as string, o order) (*porter, error) {
	account, name, err := n.account(user, as)
	if err != nil {
		return nil, err
	}
	near, far, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	proc, err := n.Host.Start(host.Command{ID: fmt.Sprintf("copy.%d", n.next.Add(1)), Args: n.Porter, Env: account.Env(), Dir: "/", User: name, Stdin: far})
	if err != nil {
		near.Close()
		return nil, blame(err, "start a process with the rights of %s", account.Name)
	}
	p := &porter{socket: near, proc: proc, ended: make(chan host.Exit, 1)}
	go func() { p.ended <- proc.Wait() }()
	p.forget = context.AfterFunc(ctx, p.stop)
	o.Account, o.Home = account.Name, account.Home
	if err := p.send(o, nil); err != nil {
		return nil, p.gone(ctx, err)
	}
	return p, nil
}

// stop tells the porter to stop, and lets nobody wait for what it says.
func (p *porter) stop() {
	p.proc.Signal(syscall.SIGTERM)
	p.Close()
}

// dismiss returns when the porter has ended, which it does by itself once it is told to.
func (p *porter) dismiss() host.Exit {
	p.forget()
	p.stop()
	timer := time.NewTimer(PorterGrace)
	defer timer.Stop()
	select {
	case exit := <-p.ended:
		return exit
	case <-timer.C:
		p.proc.Kill()
		return <-p.ended
	}
}

// gone dismisses a porter that stopped answering and tells why.
func (p *porter) gone(ctx context.Context, err error) error {
	exit := p.dismiss()
	if ctx.Err() != nil {
		return fault.New(fault.Interrupted, "interrupted")
	}
	return fault.New(fault.Failed, "the process that handles files ended early (status %d %s): %w", exit.Code, exit.Signal, err)
}

// Lay lays a tree that is in the store out in the folder to, with the rights of the user's account, or of root.
func (n *Node) Lay(ctx context.Context, user, as string, ref Ref, m Manifest, to string) error {
	return n.lay(ctx, fetchTask{User: user, As: as, Ref: ref, To: to, Many: true}, m, func(int64) {})
}

// lay has the tree m, whose blobs are in the store, laid out; placed is told the bytes that were given to the porter.
func (n *Node) lay(ctx context.Context, t fetchTask, m Manifest, placed func(int64)) error {
	p, err := n.hire(ctx, t.User, t.As, order{Lay: &layWork{Ref: t.Ref, To: t.To, Many: t.Many}})
	if err != nil {
		return err
	}
	own := map[Ref]int64{t.Ref: 0} // bytes of files; the list itself counts for none
	for _, b := range m.Blobs() {
		own[b.Ref] = b.Size
	}
	for {
		var q saying
		f, err := p.recv(&q)
		if err == nil && f != nil {
			f.Close()
			err = errors.New("it sent a file")
		}
		if err == nil && q.Result == nil {
			err = p.serve(n.Store, own, q.Want, placed)
		}
		if err != nil {
			return p.gone(ctx, err)
		}
		if q.Result != nil {
			p.dismiss()
			return n.settle(ctx, q, own)
		}
	}
}

// serve gives the porter a blob of its own tree.
func (p *porter) serve(s *Store, own map[Ref]int64, ref Ref, placed func(int64)) error {
	size, ok := own[ref]
	if !ok {
		return fmt.Errorf("it asked for blob %s, which is not in its tree", ref.short())
	}
	placed(size)
	return p.give(s, ref)
}

// settle takes in how laying out ended; a blob that rotted on disk is moved away, so that the next try fetches it anew.
func (n *Node) settle(ctx context.Context, said saying, own map[Ref]int64) error {
	bad := said.Result.Damaged
	if _, ok := own[bad]; ok {
		n.Log.Warn("a blob was damaged", "ref", bad, "error", n.Store.Verify(ctx, bad))
	}
	if said.Fault != nil {
		return said.Fault
	}
	return nil
}

// porterFiles opens what a porter has read.
type porterFiles struct {
	p    *porter
	lock chan struct{} // one question at a time
}

// Open refuses what is not a plain file: reading a pipe could take for ever.
func (f *porterFiles) Open(ref Ref) (*os.File, int64, error) {
	f.lock <- struct{}{}
	defer func() { <-f.lock }()
	file, _, err := f.p.want(ref)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fault.New(fault.Failed, "blob %s is no plain file", ref.short())
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// collect has paths read with the account's rights and gives give the tree and its files.
func (n *Node) collect(ctx context.Context, t readTask, give func(Manifest, []Skipped, Opener) error) error {
	p, err := n.hire(ctx, t.User, t.As, order{Read: t.Paths})
	if err != nil {
		return err
	}
	var said saying
	f, err := p.recv(&said)
	if f != nil {
		f.Close()
	}
	if err != nil {
		return p.gone(ctx, err)
	}
	defer p.dismiss()
	switch {
	case said.Fault != nil:
		return said.Fault
	case said.Result == nil || said.Result.Tree == nil:
		return errors.New("the process that handles files told nothing")
	}
	m := *said.Result.Tree
	if err := Validate(m); err != nil {
		return err
	}
	if len(m.Entries) == 0 {
		return fault.New(fault.NotFound, "there is nothing to copy")
	}
	return give(m, slices.Clip(said.Result.Skipped), &porterFiles{p, make(chan struct{}, 1)})
}
