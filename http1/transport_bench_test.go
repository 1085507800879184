package http1

import (
	"io"
	"net/http"
	"testing"
)

// Requests one after the other over one connection, beside net/http's.
func BenchmarkTransport(b *testing.B) {
	const answer = "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
	for name, tr := range map[string]http.RoundTripper{"own": &Transport{}, "net": &http.Transport{}} {
		b.Run(name, func(b *testing.B) {
			o := newBackend(b, func(c *spoken) {
				for c.head() != "" {
					io.WriteString(c, answer)
				}
			})
			req := o.request("GET", nil)
			b.ReportAllocs()
			for b.Loop() {
				res, err := tr.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			tr.(interface{ CloseIdleConnections() }).CloseIdleConnections()
		})
	}
}
