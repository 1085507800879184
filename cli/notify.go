package cli

import (
	"context"
	"os"
	"sync"
	"time"

	"bramble/agent"
	"bramble/host"
)

// notified tells systemd, where it listens, that the agent is ready, and keeps its watchdog content until stop is called.
func notified(ctx context.Context, o *agent.Options) (stop func()) {
	socket := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET") // tasks and keepers are not the service
	if socket == "" {
		return func() {}
	}
	var ended sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	ready := o.Ready
	o.Ready = func(i agent.Info) {
		host.Notify(socket, "READY=1")
		ready(i)
	}
	if every := host.WatchdogInterval(os.Getenv, os.Getpid()); every > 0 {
		ended.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					host.Notify(socket, "STOPPING=1")
					return
				case <-tick.C:
					host.Notify(socket, "WATCHDOG=1")
				}
			}
		})
	}
	return func() {
		cancel()
		ended.Wait()
	}
}
