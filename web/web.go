// Package web is the dashboard: pages for people, the same content as JSON for programs,
// metrics, and one-time login links. It asks the cluster as the person signed in, and shows.
package web

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/agent"
	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
	"bramble/job"
)

// Jobs is what the pages ask about work, over the connection of the person signed in: a job.Client.
type Jobs interface {
	Submit(ctx context.Context, spec job.Spec) (job.ID, error)
	List(ctx context.Context, req job.ListRequest) iter.Seq2[job.Summary, error]
	Job(ctx context.Context, id job.ID) (job.Detail, error)
	Watch(ctx context.Context, id job.ID) iter.Seq2[job.Summary, error]
	Cancel(ctx context.Context, id job.ID) (job.Summary, error)
	Hold(ctx context.Context, id job.ID) (job.Summary, error)
	Release(ctx context.Context, id job.ID) (job.Summary, error)
	Requeue(ctx context.Context, id job.ID, index *int) (job.Summary, error)
	Alter(ctx context.Context, id job.ID, set job.Alteration) (job.Summary, error)
	Logs(ctx context.Context, req job.LogRequest) iter.Seq2[job.Line, error]
	Endings(ctx context.Context, req job.EndingsRequest) iter.Seq2[job.Ending, error]
	Grid(ctx context.Context, id job.ID, cells int) (job.Grid, error)
	Timeline(ctx context.Context, req job.TimelineRequest) (job.Timeline, error)
	Throughput(ctx context.Context) (job.Throughput, error)
	Loads(ctx context.Context, names ...string) ([]job.Load, error)
	Uses(ctx context.Context) ([]job.Use, error)
	Partitions(ctx context.Context) ([]job.Partition, error)
}

// Server is a head's dashboard.
type Server struct {
	agent.Dashboard
	// Jobs makes the client of the job room over a connection.
	Jobs func(*bus.Conn) Jobs
	// Listener takes the connections; nil listens on Dashboard.Listen.
	Listener net.Listener

	pages      pages
	watch      *watcher
	conns      *conns
	streams    *streams
	bearers    bearers
	at         *net.TCPAddr // of the listener
	previews   previews
	life       context.Context // ends with Run
	reports    common[[]artefact.Report]
	storesSaid common[[]artefact.StoreEvent]
	frontsSaid common[frontLook]
	blobs      http.Handler   // of the store of files
	moving     chan struct{}  // a place for each file on its way
	busy       sync.WaitGroup // requests under way
}

const (
	maxHeader  = 16 << 10 // bytes of a request's header
	maxBody    = 64 << 10 // bytes of a request's body, where not more is expected
	maxSubmit  = 2 << 20  // of a job
	headerTime = 10 * time.Second
	answerTime = time.Minute // for a whole answer that is not a stream
)

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return err
	}
	listener := s.Listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", s.Listen); err != nil {
			return fault.New(fault.Failed, "the dashboard cannot listen on %s: %w", s.Listen, err).
				Hint("bramble up --web HOST:PORT with a free port")
		}
	}
	s.at = listener.Addr().(*net.TCPAddr)
	if err := s.answer(ctx); err != nil {
		listener.Close()
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	s.life = ctx
	group.Go(func() error {
		for list := range s.Nodes(ctx) {
			s.watch.take(list)
		}
		return nil
	})
	group.Go(func() error { return s.listen(ctx, listener, s.handler()) })
	err := group.Wait()
	s.busy.Wait()
	s.conns.close()
	return err
}

func (s *Server) prepare() error {
	var err error
	if s.pages, err = readPages(); err != nil {
		return fmt.Errorf("read the dashboard's pages: %w", err)
	}
	s.watch = newWatcher(s.pages)
	s.conns = newConns(s.Connect)
	s.streams = newStreams(s.Metrics)
	s.frontsSaid.fresh = frontFresh
	everyone := func(*http.Request) error { return nil } // exchange has looked already
	s.blobs = artefact.Handler(s.Store, everyone, artefact.Limits{Blob: maxUpload, Idle: silence})
	s.moving = make(chan struct{}, maxMoving)
	return nil
}

// listen serves one port: connections that begin with TLS, and plain ones.
func (s *Server) listen(ctx context.Context, l net.Listener, handler http.Handler) error {
	secure := s.TLS.Clone()
	secure.NextProtos = []string{"h2", "http/1.1"} // said here, since whichever of the two Serves comes first decides for both
	server := &http.Server{
		Handler: handler, TLSConfig: secure,
		ReadHeaderTimeout: headerTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	port := splitPort(l)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return port.run(ctx) })
	group.Go(func() error { return closed(server.Serve(port.plain)) })
	group.Go(func() error { return closed(server.ServeTLS(port.secure, "", "")) })
	group.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		return errors.Join(ignoreTimeout(server.Shutdown(end)), server.Close())
	})
	return group.Wait()
}

func closed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve the dashboard: %w", err)
}

func ignoreTimeout(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
