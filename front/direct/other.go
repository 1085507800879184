//go:build !linux

package direct

import (
	"context"
	"net"
	"net/netip"
	"time"

	"bramble/fault"
)

func onlyLinux() error {
	return fault.New(fault.Failed, "direct return exists only on Linux, whose kernel does the work").Hint("%s", Proxy)
}

// Front works only on Linux.
type Front struct{}

// Start works only on Linux.
func Start(context.Context, string, Spec) (*Front, error) { return nil, onlyLinux() }

// Set works only on Linux.
func (f *Front) Set(context.Context, Spec) error { return onlyLinux() }

func (f *Front) sees(*net.Interface) error { return onlyLinux() }

// Counts works only on Linux.
func (f *Front) Counts(context.Context) ([]Count, error) { return nil, onlyLinux() }

// Close works only on Linux.
func (f *Front) Close() error { return onlyLinux() }

// Leave is never called.
func (f *Front) Leave() error { return onlyLinux() }

// Undo works only on Linux.
func Undo(string) (bool, error) { return false, onlyLinux() }

// Holding works only on Linux.
type Holding struct{}

// Hold works only on Linux.
func Hold(netip.Addr, string) (*Holding, error) { return nil, onlyLinux() }

// Close works only on Linux.
func (h *Holding) Close() error { return onlyLinux() }

// Leave is never called.
func (h *Holding) Leave() error { return onlyLinux() }

// Release works only on Linux.
func Release(string) (bool, error) { return false, onlyLinux() }

// ExamineFront works only on Linux.
func ExamineFront(context.Context, Spec) (f FrontFacts, err error) { return f, onlyLinux() }

// ExamineMember works only on Linux.
func ExamineMember(context.Context, netip.Addr, uint16) (f MemberFacts, err error) {
	return f, onlyLinux()
}

func resolve(context.Context, *net.Interface, time.Duration, netip.Addr, ...netip.Addr) (map[netip.Addr]MAC, error) {
	return nil, onlyLinux()
}

func knock(context.Context, *net.Interface, time.Duration, netip.Addr, netip.AddrPort, []MAC, int) ([]Answer, error) {
	return nil, onlyLinux()
}
