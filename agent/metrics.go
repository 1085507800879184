package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/metric"
)

// serveMetrics answers /metrics on a loopback address until ctx ends; "" is none. A port that is taken is
// no reason not to work: it is said, and there are no metrics here.
func (n *node) serveMetrics(ctx context.Context, set *metric.Set) error {
	if n.Metrics == "" {
		return nil
	}
	name, _, err := net.SplitHostPort(n.Metrics)
	if ip := net.ParseIP(name); err != nil || name != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fault.New(fault.Misused, "--metrics %s is no loopback address", n.Metrics).Hint("--metrics 127.0.0.1:7653; the head's dashboard serves the whole cluster's to others")
	}
	l, err := net.Listen("tcp", n.Metrics)
	if err != nil {
		n.Log.Warn("no metrics here", "error", err)
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		set.Write(w)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

// hostMetrics shows how this machine is doing.
func hostMetrics(set *metric.Set, h host.Host) {
	gauge := func(name, help string, value func(host.Sample) float64) {
		set.Gauge("bramble_host_"+name, help, func() float64 {
			s, _ := h.Sample(context.Background())
			return value(s)
		})
	}
	gauge("load", "One-minute load average.", func(s host.Sample) float64 { return s.Load })
	gauge("memory_used_bytes", "Memory in use.", func(s host.Sample) float64 { return float64(s.MemUsed) })
	gauge("memory_bytes", "Memory in all.", func(s host.Sample) float64 { return float64(s.MemTotal) })
	gauge("temperature_celsius", "Hottest sensor; 0 without one.", func(s host.Sample) float64 { return s.Temp })
	gauge("throttled", "The firmware's get_throttled bits.", func(s host.Sample) float64 { return float64(s.Throttled) })
	gauge("disk_free_bytes", "Free where the state folder is.", func(s host.Sample) float64 { return float64(s.DiskFree) })
	gauge("received_bytes", "Received on all links since the start.", func(s host.Sample) float64 { return float64(s.RxBytes) })
	gauge("sent_bytes", "Sent on all links since the start.", func(s host.Sample) float64 { return float64(s.TxBytes) })
}
