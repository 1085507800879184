//go:build !linux

package lab

import (
	"context"
	"syscall"

	"bramble/fault"
)

func onlyLinux() error { return fault.New(fault.Failed, "a lab runs only on Linux") }

func (p process) name() string { return "" }

func processes() ([]process, error) { return nil, onlyLinux() }

// marked works only on Linux.
type marked struct{ state string }

func (m marked) Processes() (map[string][]int, error) { return nil, onlyLinux() }

func (m marked) Signal(context.Context, string, syscall.Signal) (int, error) { return 0, onlyLinux() }

func (m marked) end(context.Context, ...string) error { return onlyLinux() }
