//go:build !linux

package host

import (
	"errors"
	"os"
)

// SyncFS is known to Linux only.
func SyncFS(*os.File) error { return errors.ErrUnsupported }
