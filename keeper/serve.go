package keeper

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"bramble/fault"
)

const (
	// inFlight is how many requests of one connection are worked on at a time.
	inFlight = 16
	// outputPart is how many bytes one answer to "output" carries at most.
	outputPart = 1 << 20
	// listPart is how many statuses one answer to "list" carries at most.
	listPart = 2000
	// acceptPause is how long an accept that failed, for want of descriptors say, is not tried again.
	acceptPause = 100 * time.Millisecond
)

// Serve answers on a unix socket, mode 0600, for this account and root only, until ctx is done.
// A socket that is there already is replaced: the caller holds the spool's lock.
func Serve(ctx context.Context, local *Local, socket string) error {
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	defer os.Remove(socket)
	return serve(ctx, local, listener)
}

func listen(socket string) (*net.UnixListener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	path, done, err := shortPath(socket)
	if err != nil {
		return nil, err
	}
	defer done()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // path may mean nothing by then
	if err := os.Chmod(socket, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

func serve(ctx context.Context, local *Local, listener *net.UnixListener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		conn, err := listener.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			local.Log.Warn("a connection could not be accepted", "error", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-ctx.Done():
				return nil
			}
		}
		conns.Go(func() { (&session{local: local, conn: conn}).run(ctx) })
	}
}

// session serves one connection.
type session struct {
	local *Local
	conn  *net.UnixConn
	write sync.Mutex
}

func (s *session) run(ctx context.Context) {
	defer s.conn.Close()
	if err := checkPeer(s.conn); err != nil {
		s.local.Log.Warn("a connection was refused", "error", err)
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	reader := bufio.NewReaderSize(s.conn, 4<<10)
	var peer hello
	if s.send(hello{Protocol: Protocol, Pid: os.Getpid()}, nil) != nil {
		return
	}
	if _, err := decode(reader, &peer); err != nil {
		return
	}
	slots := make(chan struct{}, inFlight)
	for {
		var r request
		if _, err := decode(reader, &r); err != nil {
			return
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			if err := s.answer(ctx, r); err != nil {
				cancel() // the client is gone, or its connection of no use any more
			}
		})
	}
}

// send writes one frame; it blocks while the client does not read.
func (s *session) send(head any, tail []byte) error {
	frame, err := encode(head, tail)
	if err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	_, err = s.conn.Write(frame)
	return err
}

// answer does what a request asks. The error is one of the connection.
func (s *session) answer(ctx context.Context, r request) error {
	switch r.Do {
	case "ended":
		return s.ended(ctx, r)
	case "list":
		return s.list(ctx, r)
	}
	a := answer{Number: r.Number}
	tail, err := s.do(ctx, r)
	if err != nil {
		a.Error = fault.Of(err)
	}
	return s.send(a, tail)
}

func (s *session) do(ctx context.Context, r request) (tail []byte, err error) {
	switch r.Do {
	case "start":
		return nil, s.local.Start(ctx, r.Tasks)
	case "signal":
		return nil, s.local.Signal(ctx, r.ID, r.Signal)
	case "withdraw":
		return nil, s.local.Withdraw(ctx, r.IDs)
	case "limit":
		return nil, s.local.Limit(ctx, r.IDs, r.Timeout)
	case "forget":
		return nil, s.local.Forget(ctx, r.IDs)
	case "output":
		return s.local.Output(ctx, r.ID, r.Stream, r.Offset, min(r.Max, outputPart))
	}
	return nil, fault.New(fault.Misused, "this keeper does not know the request %.40q", r.Do).
		Hint("restart the keeper when nothing runs: it is older than the agent")
}

func (s *session) list(ctx context.Context, r request) error {
	list, err := s.local.List(ctx)
	if err != nil {
		return s.send(answer{Number: r.Number, Error: fault.Of(err)}, nil)
	}
	for len(list) > listPart {
		if err := s.send(answer{Number: r.Number, More: true, Statuses: list[:listPart]}, nil); err != nil {
			return err
		}
		list = list[listPart:]
	}
	return s.send(answer{Number: r.Number, Statuses: list}, nil)
}

func (s *session) ended(ctx context.Context, r request) error {
	batches, err := s.local.Ended(ctx)
	if err != nil {
		return err
	}
	for batch := range batches {
		if err := s.send(answer{Number: r.Number, More: true, Statuses: batch}, nil); err != nil {
			return err
		}
	}
	return net.ErrClosed
}
