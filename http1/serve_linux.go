package http1

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// accept serves connections until the end: plain ones on loops of our own, for the runtime's poller costs a
// switch of goroutines and three more system calls for each request.
func (r *run) accept() error {
	var file *os.File
	var err error
	switch ln := r.ln.(type) {
	case *net.TCPListener:
		file, err = ln.File()
	case *net.UnixListener:
		file, err = ln.File()
	default:
		return r.acceptConns()
	}
	if err != nil {
		return err
	}
	defer file.Close()
	defer context.AfterFunc(r.entry, func() { file.Close() })()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	loops, err := r.startLoops()
	if err != nil {
		return err
	}
	raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) }) // inherited
	for next := 0; r.acquire(); next++ {
		fd, remote, err := acceptOne(raw)
		if err == nil {
			l := loops[next%len(loops)]
			k := &link{home: l, fd: fd, remote: remote, fresh: true}
			if r.proxied(remote.Addr()) { // whose it is shows later
				k.remote, k.proxy = netip.AddrPort{}, remote
			}
			if !r.begun(k.remote) {
				syscall.Close(fd)
				continue
			}
			l.give(k)
			continue
		}
		r.release()
		if !passing(err) || !r.pause() {
			return err
		}
	}
	return nil
}

// startLoops starts the loops and those who send files for them.
func (r *run) startLoops() ([]*loop, error) {
	files := make(chan *link, r.limits.Conns) // each connection is in it at most once, so sending never blocks
	var loops []*loop
	for range r.loops() {
		l, err := newLoop(r, files)
		if err != nil {
			for _, l := range loops {
				l.close()
			}
			return nil, err
		}
		loops = append(loops, l)
	}
	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(l.serve)
	}
	r.enter(loops)
	for range 4 * runtime.GOMAXPROCS(0) {
		r.wg.Go(func() { sendFiles(files) })
	}
	r.wg.Go(func() { running.Wait(); r.leave(loops); close(files) })
	return loops, nil
}

// enter lets Break find the loops.
func (s *Server) enter(loops []*loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = map[breaker]struct{}{}
	}
	for _, l := range loops {
		s.running[l] = struct{}{}
	}
}

func (s *Server) leave(loops []*loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range loops {
		delete(s.running, l)
	}
}

// acceptOne waits in the runtime's poller for a connection, which it keeps out of it.
func acceptOne(ln syscall.RawConn) (fd int, remote netip.AddrPort, err error) {
	var peer syscall.Sockaddr
	var failed error
	err = ln.Read(func(listener uintptr) bool {
		fd, peer, failed = syscall.Accept4(int(listener), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		return failed != syscall.EAGAIN
	})
	if err == nil {
		err = failed
	}
	switch peer := peer.(type) {
	case *syscall.SockaddrInet4:
		remote = netip.AddrPortFrom(netip.AddrFrom4(peer.Addr), uint16(peer.Port))
	case *syscall.SockaddrInet6:
		remote = netip.AddrPortFrom(netip.AddrFrom16(peer.Addr).Unmap(), uint16(peer.Port))
	}
	return fd, remote, err
}
