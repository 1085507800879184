package http1

import (
	"bytes"
	"syscall"
	"testing"
)

// A client that takes nothing just now, with nothing waiting for it yet, is no client that has gone.
func TestPassToAFullConnection(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	for {
		if _, err := send(fds[0], make([]byte, 4096), nil, false); err != nil {
			break
		}
	}
	l, k := &loop{links: map[int32]*link{}}, &link{fd: fds[0]}
	x := &exchange{k: k}
	content := bytes.Repeat([]byte("x"), 20_000)
	l.pass(x, content)
	if k.gone || !bytes.Equal(k.out, content) || !x.full {
		t.Errorf("the connection is dropped: %t, %d bytes wait, the origin is read on: %t", k.gone, len(k.out), !x.full)
	}
}
