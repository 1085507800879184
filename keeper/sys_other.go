//go:build !linux

package keeper

import (
	"net"
	"os"

	"bramble/fault"
)

func onlyLinux() error { return fault.New(fault.Failed, "a keeper runs only on Linux") }

func checkPeer(*net.UnixConn) error { return onlyLinux() }

func openPipe() (read int, write *os.File, err error) { return -1, nil, onlyLinux() }

func syncData(f *os.File) error { return f.Sync() }

func shortPath(socket string) (path string, done func(), err error) {
	return socket, func() {}, nil
}
