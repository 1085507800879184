//go:build !linux

package host

import "net"

// Gathered is known to Linux only.
func Gathered(conn net.Conn) net.Conn { return conn }
