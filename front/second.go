package front

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// second asks members that speak HTTP/2 without TLS, as servers of gRPC do. Requests share a connection, which is
// broken off when its member goes down.
type second struct {
	http.Transport
	mu    sync.Mutex
	conns map[*bound]string // to which address each one is
}

// newSecond is a transport that waits so long for an answer's head; 0 is the default.
func newSecond(wait time.Duration) *second {
	if wait <= 0 {
		wait = time.Minute
	}
	s := &second{conns: map[*bound]string{}}
	s.DisableCompression, s.ResponseHeaderTimeout, s.IdleConnTimeout = true, wait, 90*time.Second
	s.Protocols = &http.Protocols{}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.DialContext = s.dial
	return s
}

// bound is a connection that can be found by its address.
type bound struct {
	net.Conn
	s *second
}

func (s *second) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	b := &bound{conn, s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[b] = address
	return b, nil
}

// Close closes the connection.
func (b *bound) Close() error {
	b.s.mu.Lock()
	delete(b.s.conns, b)
	b.s.mu.Unlock()
	return b.Conn.Close()
}

// breakOff ends the connections with an address.
func (s *second) breakOff(address string) {
	var found []*bound
	s.mu.Lock()
	for b, at := range s.conns {
		if at == address {
			found = append(found, b)
		}
	}
	s.mu.Unlock()
	for _, b := range found {
		b.Close()
	}
}

// check asks for a check's path once.
func (s *second) check(ctx context.Context, c Check, address string) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+c.Path, nil)
	if err != nil {
		return err
	}
	if c.Host != "" {
		r.Host = c.Host
	}
	r.Header.Set("User-Agent", "bramble-check")
	res, err := s.RoundTrip(r)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("the check was answered by status %d", res.StatusCode)
	}
	return nil
}
