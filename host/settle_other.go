//go:build !linux

package host

import "runtime/debug"

// Settle gives back memory that is free.
func Settle() error {
	debug.FreeOSMemory()
	return nil
}
