package keeper_test

import "bramble/host"

// newHost is this machine; the spool's folder tells its tasks from those of other tests.
func newHost(spool string) *host.Real {
	return host.NewReal(host.RealOptions{StateDir: spool})
}
