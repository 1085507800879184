//go:build !linux

package host

import (
	"errors"
	"os"
)

func Layer(lower, upper, work, at string) error { return errors.ErrUnsupported }

func Unlayer(at string) error { return nil }

func MoveLayer(from, to string) error { return errors.ErrUnsupported }

func Untouched(string, Account, os.FileMode) bool { return false }

func UnlayerBelow(dir string) error { return nil }
