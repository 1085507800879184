//go:build !linux

package hostnet

import (
	"context"
	"net/netip"
	"syscall"

	"bramble/fault"
)

func onlyLinux() error {
	return fault.New(fault.Failed, "a lab with networks of its own exists only on Linux").Hint("bramble lab up --no-netns")
}

// Up works only on Linux.
func Up(context.Context, Spec) (*Network, error) { return nil, onlyLinux() }

// Open works only on Linux.
func Open(string) (*Network, error) { return nil, onlyLinux() }

// Labs works only on Linux.
func Labs() ([]string, error) { return nil, onlyLinux() }

// Down works only on Linux.
func Down(context.Context, string) error { return onlyLinux() }

// Enter works only on Linux.
func Enter(string) error { return onlyLinux() }

// SetUp works only on Linux.
func (n *Network) SetUp(string, bool) error { return onlyLinux() }

// SetRate works only on Linux.
func (n *Network) SetRate(string, Rate) error { return onlyLinux() }

// Processes works only on Linux.
func (n *Network) Processes() (map[string][]int, error) { return nil, onlyLinux() }

// Signal works only on Linux.
func (n *Network) Signal(context.Context, string, syscall.Signal) (int, error) {
	return 0, onlyLinux()
}

// AddAddress works only on Linux.
func AddAddress(string, netip.Addr) (bool, error) { return false, onlyLinux() }

// RemoveAddress works only on Linux.
func RemoveAddress(string, netip.Addr) error { return onlyLinux() }
