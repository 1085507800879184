//go:build !linux

package http1

// accept serves connections until the end.
func (r *run) accept() error { return r.acceptConns() }
