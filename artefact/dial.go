package artefact

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"bramble/host"
)

// HTTP is what a Client speaks over.
func HTTP(config *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     config,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return host.Gathered(conn), nil
		},
	}}
}
