//go:build !linux

package host

import (
	"os"

	"bramble/fault"
)

// starter has nothing to start with outside Linux.
type starter struct{}

func (s *starter) open(RealOptions, *accounts) {}

func (s *starter) limits(*tree) (version int, names []string) { return 0, nil }

// Start fails: processes are started on Linux only.
func (s *starter) Start(Command) (Process, error) { return nil, onlyLinux() }

// Leftovers finds none.
func (s *starter) Leftovers(prefix string) ([]string, error) { return nil, nil }

// Adopt fails: there are no leftovers.
func (s *starter) Adopt(id string) (Process, error) { return nil, onlyLinux() }

// Close has nothing to end.
func (s *starter) Close() error { return nil }

// Subreaper fails: only Linux has it.
func Subreaper() error { return onlyLinux() }

func onlyLinux() error {
	return fault.New(fault.Failed, "bramble runs commands on Linux only").
		Hint("join a Linux machine and run there: bramble run --on all -- true")
}

func diskSize(string) (total, free int64) { return 0, 0 }

// SocketPair fails: it serves the processes that are not started here.
func SocketPair() (near, far *os.File, err error) { return nil, nil, onlyLinux() }

// BoundProcesses does nothing here: no tasks are started.
func BoundProcesses() error { return nil }

// CommandLine is known on Linux alone.
func CommandLine(int) (args []string, parent int) { return nil, 0 }

// OpenAs fails: it serves the processes that are not started here.
func (s *starter) OpenAs(string, Writing) (*os.File, error) { return nil, onlyLinux() }
