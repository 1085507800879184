package host

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A machine that is woken for every packet of a long answer does nothing else. So what comes of one is left in the
// kernel for a moment and taken in one piece.
const (
	longAnswer  = 256 << 10 // bytes since the last that was written, from which on an answer counts as long
	gatherFor   = 5 * time.Millisecond
	gatherSpace = 128 << 10 // bytes that are taken at the most; when there are as many, more are looked for at once

	// gatherWake is how many bytes wake the process while it sleeps. It stays below half of what a socket has room
	// for at first, which the kernel would change otherwise.
	gatherWake = 48 << 10
)

// Gathered is conn, of which long answers are read in few and large pieces. It is for protocols in which one side asks
// and the other answers.
func Gathered(conn net.Conn) net.Conn {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return conn
	}
	return &gathered{Conn: conn, raw: raw}
}

type gathered struct {
	net.Conn
	raw    syscall.RawConn
	answer atomic.Int64 // bytes since the last that was written

	// Read's own.
	space, rest []byte
	last        time.Time // when the kernel was asked
	full        bool      // it may have had more then
	calm        bool      // it wakes us for much only
}

func (g *gathered) Write(p []byte) (int, error) {
	g.answer.Store(0)
	return g.Conn.Write(p)
}

func (g *gathered) Read(p []byte) (int, error) {
	if len(g.rest) == 0 {
		if g.answer.Load() < longAnswer {
			return g.wait(p)
		}
		n, err := g.gather()
		if err != nil {
			return 0, err
		}
		g.rest = g.space[:n]
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// wait reads as soon as there is anything.
func (g *gathered) wait(p []byte) (int, error) {
	if err := g.wake(1); err != nil {
		return 0, err
	}
	n, err := g.Conn.Read(p)
	g.answer.Add(int64(n))
	return n, err
}

// gather fills space with what has come a moment after the last time, or waits when that was nothing.
func (g *gathered) gather() (int, error) {
	if g.space == nil {
		g.space = make([]byte, gatherSpace)
	}
	if err := g.wake(gatherWake); err != nil {
		return 0, err
	}
	if pause := gatherFor - time.Since(g.last); pause > 0 && !g.full {
		time.Sleep(pause)
	}
	n, err := g.take()
	if err == unix.EAGAIN {
		n, err = g.wait(g.space)
	} else {
		g.answer.Add(int64(n))
	}
	g.last, g.full = time.Now(), n == len(g.space)
	return n, err
}

// take reads what is there, without waiting.
func (g *gathered) take() (n int, err error) {
	failed := g.raw.Read(func(fd uintptr) bool {
		for {
			if n, err = unix.Read(int(fd), g.space); err != unix.EINTR {
				return true
			}
		}
	})
	switch {
	case failed != nil:
		return 0, failed
	case err == unix.EAGAIN:
		return 0, err
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// wake says from how many bytes on the kernel wakes who waits for this connection.
func (g *gathered) wake(bytes int) error {
	calm := bytes > 1
	if calm == g.calm {
		return nil
	}
	g.calm = calm
	var err error
	if failed := g.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes) }); failed != nil {
		return failed
	}
	return err
}
