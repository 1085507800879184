package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How long is waited for an origin, by a clock that only the waiting moves.
func TestTransportTimes(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	reads := func(c net.Conn) *bufio.Reader {
		r := bufio.NewReader(c)
		for text := ""; text != "\r\n"; text, _ = r.ReadString('\n') {
		}
		return r
	}
	for name, c := range map[string]struct {
		serve  func(c net.Conn)
		dial   bool // it connects
		body   io.Reader
		expect bool
		err    error // of the request
		broken error // of the answer's body
		after  time.Duration
	}{
		"connects never": {nil, false, nil, false, ErrConnect, nil, 2 * time.Second},
		"takes nothing":  {func(c net.Conn) { time.Sleep(time.Hour) }, true, nil, false, ErrStalled, nil, 20 * time.Second},
		"never answers":  {func(c net.Conn) { reads(c); time.Sleep(time.Hour) }, true, nil, false, ErrNoAnswer, nil, 10 * time.Second},
		"answers slowly": {func(c net.Conn) {
			reads(c)
			for range 100 {
				io.WriteString(c, "H")
				time.Sleep(time.Second)
			}
		}, true, nil, false, ErrNoAnswer, nil, 10 * time.Second},
		"is late with the rest of a head": {func(c net.Conn) {
			reads(c)
			io.WriteString(c, "HTTP/1.1 103 Hi\r\n\r\n")
			time.Sleep(9 * time.Second)
			io.WriteString(c, "HTTP")
			time.Sleep(time.Hour)
		}, true, nil, false, ErrNoAnswer, nil, 10 * time.Second},
		"stops in the middle": {func(c net.Conn) {
			reads(c)
			io.WriteString(c, head)
			time.Sleep(19 * time.Second)
			io.WriteString(c, "he")
			time.Sleep(time.Hour)
		}, true, nil, false, nil, ErrStalled, 39 * time.Second},
		"is slow": {func(c net.Conn) {
			reads(c)
			time.Sleep(9 * time.Second)
			io.WriteString(c, head)
			for _, b := range "hello" {
				time.Sleep(19 * time.Second)
				io.WriteString(c, string(b))
			}
			time.Sleep(time.Hour)
		}, true, nil, false, nil, nil, (9 + 5*19) * time.Second},
		"takes half of a part": {func(c net.Conn) {
			io.ReadFull(reads(c), make([]byte, 100))
			time.Sleep(time.Hour)
		}, true, endless{}, false, ErrStalled, nil, 40 * time.Second},
		"drips a head while it takes a body": {func(c net.Conn) {
			r := reads(c)
			io.WriteString(c, "HTTP/1.1 103 Hi\r\n\r\n")
			go io.Copy(io.Discard, r)
			time.Sleep(15 * time.Second) // no head has begun, and there is no hurry
			for range 100 {
				io.WriteString(c, "H")
				time.Sleep(time.Second)
			}
		}, true, slow{}, false, ErrNoAnswer, nil, 25 * time.Second},
		"takes a body slowly, then never answers": {func(c net.Conn) {
			r := reads(c)
			for range 100 {
				io.ReadFull(r, make([]byte, 1000))
				time.Sleep(time.Second)
			}
			time.Sleep(time.Hour)
		}, true, strings.NewReader(strings.Repeat("x", 100*1000)), false, ErrNoAnswer, nil, 0},
		"consents never": {func(c net.Conn) {
			if reads(c).ReadByte(); time.Since(begun) < time.Second {
				panic("the body did not wait")
			}
			go io.Copy(io.Discard, c)
			io.WriteString(c, head+"hello")
			time.Sleep(time.Hour)
		}, true, strings.NewReader("hello"), true, nil, nil, time.Second},
		"hints, and then wants no body": {func(c net.Conn) {
			reads(c)
			io.WriteString(c, "HTTP/1.1 103 Hi\r\n\r\n")
			time.Sleep(time.Second / 2)
			io.WriteString(c, head+"hello")
		}, true, failing{errors.New("it was read")}, true, nil, nil, time.Second / 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun = time.Now()
				ours, theirs := net.Pipe()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tr := &Transport{Answer: 10 * time.Second, Stall: 20 * time.Second, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					if c.dial {
						go c.serve(theirs)
						return ours, nil
					}
					<-ctx.Done()
					return nil, ctx.Err()
				}}
				req, _ := http.NewRequestWithContext(ctx, "PUT", "http://a:1/", c.body)
				if c.expect {
					req.Header.Set("Expect", "100-continue")
				}
				res, err := tr.RoundTrip(req)
				if !errors.Is(err, c.err) {
					t.Errorf("got %v", err)
				}
				if err == nil {
					if _, err := io.ReadAll(res.Body); !errors.Is(err, c.broken) {
						t.Errorf("reading gave %v", err)
					}
				}
				if took := time.Since(begun); c.after > 0 && took != c.after {
					t.Errorf("it took %s", took)
				}
				theirs.Close()
				synctest.Wait()
				if len(tr.trips) > 0 {
					t.Error("the request is still under way")
				}
				time.Sleep(2 * time.Hour) // until the origin has ended
			})
		})
	}
}

// A connection that has changed its protocol may be silent for as long as both like.
func TestTransportSilentTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		go func() {
			http.ReadRequest(bufio.NewReader(theirs))
			io.WriteString(theirs, "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			time.Sleep(24 * time.Hour)
			io.WriteString(theirs, "late")
			theirs.Close()
		}()
		req, _ := http.NewRequest("GET", "http://a:1/", nil)
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}}
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got, err := io.ReadAll(res.Body); string(got) != "late" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

var begun time.Time // of the test, by its clock

// slow is a body of a byte a second without an end.
type slow struct{}

func (slow) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return copy(p, "x"), nil
}
