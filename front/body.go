package front

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// errTooLarge is that a request's body has more bytes than its pool takes.
var errTooLarge = errors.New("the body is larger than is taken here")

// incoming is a visitor's body on its way to a member. What goes wrong with it is no failure of the member's.
type incoming struct {
	io.Reader
	most int64 // bytes; 0: any
	had  int64
	over *atomic.Int64         // counts bodies that are too large
	all  atomic.Bool           // it has been read to its end
	why  atomic.Pointer[error] // it ended before its end
}

// Read gives nothing of a piece with which the body is too large.
func (b *incoming) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.had += int64(n); b.most > 0 && b.had > b.most {
		n, err = 0, errTooLarge
	}
	if err == io.EOF {
		b.all.Store(true)
	} else if err != nil && b.why.CompareAndSwap(nil, &err) && err == errTooLarge {
		b.over.Add(1)
	}
	return n, err
}

// Close leaves the visitor's body open, which another member may have to get.
func (b *incoming) Close() error { return nil }

// unread reports whether there is more of the body to come. There may be no body.
func (b *incoming) unread() bool { return b != nil && !b.all.Load() }

// failure is why the body ended before its end; nil, it did not. There may be no body.
func (b *incoming) failure() error {
	if b == nil {
		return nil
	}
	if why := b.why.Load(); why != nil {
		return *why
	}
	return nil
}

// larger reports whether a request says that it is larger than the group takes.
func (g *group) larger(r *http.Request) bool {
	most := g.ring.Load().most
	return most > 0 && r.ContentLength > most
}

// tellText answers with a text of the front's own.
func tellText(w http.ResponseWriter, status int) {
	http.Error(w, strings.TrimSuffix(texts[status], "\n"), status)
}

// lastWords is how long a visitor whose connection ends may go on sending, so that the answer is not lost to a reset (RFC 9112, 9.6).
const lastWords = 2 * time.Second

// tellOf answers a request whose body is not wanted to its end. Over HTTP/1 the connection ends with it.
func tellOf(w http.ResponseWriter, r *http.Request, status int) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(lastWords))
	}
	tellText(w, status)
}
