//go:build !linux

package host

import "errors"

func Layer(lower, upper, work, at string) error { return errors.ErrUnsupported }

func Unlayer(at string) error { return nil }

func UnlayerBelow(dir string) error { return nil }
