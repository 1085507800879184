package front

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"bramble/accesslog"
	"bramble/http1"
)

// AccessLog is where requests are noted, one line each. Lines gather and are written together, for visitors do not wait for a disk.
type AccessLog struct {
	To   io.Writer // nil: lines are for those alone who follow them
	JSON bool      // an object each, with the member that answered and how long it took; else the form that Apache calls combined
	Log  *slog.Logger

	feed    accesslog.Feed
	writing sync.Mutex // held by who writes lines

	mu     sync.Mutex
	lines  []byte
	lost   int
	second int64
	stamp  []byte
}

const (
	// mostLines is how many bytes of lines wait for a writer that is slow; what comes meanwhile is lost, and counted.
	mostLines = 4 << 20
	gather    = 200 * time.Millisecond
)

// wanted is the log; nil where nobody wants lines.
func (l *AccessLog) wanted() *AccessLog {
	if l == nil || l.To == nil && !l.feed.Followed() {
		return nil
	}
	return l
}

// begin is the last lines that were noted, and with Follow a reader of all that come behind these. File is where To writes.
func (l *AccessLog) begin(file string, req accesslog.Request) (last []byte, coming *accesslog.Reader, stop func(), err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.write()
	if l.To != nil {
		last, err = accesslog.Last(file, req.Lines)
	}
	if err != nil || !req.Follow {
		return last, nil, func() {}, err
	}
	coming, stop, err = l.feed.Follow()
	return last, coming, stop, err
}

// visit is a line of an access log in the form of JSON.
type visit struct {
	http1.Visit
	Host   string  `json:"host"`
	Member string  `json:"member,omitempty"`
	Tried  int     `json:"tried,omitempty"` // members before that one
	Took   float64 `json:"took"`            // seconds, to the end of the answer
}

// note adds a line.
func (l *AccessLog) note(v visit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) > mostLines {
		l.lost++
		return
	}
	if l.JSON {
		text, err := json.Marshal(v)
		if err == nil {
			l.lines = append(append(l.lines, text...), '\n')
		}
		return
	}
	if second := v.Time.Unix(); second != l.second {
		l.second, l.stamp = second, v.Time.AppendFormat(l.stamp[:0], http1.VisitTime)
	}
	l.lines = http1.AppendVisit(l.lines, v.Remote, l.stamp, []byte(v.Method), []byte(v.Target), v.Version, v.Status, v.Bytes, []byte(v.Referer), []byte(v.Agent))
}

// run writes lines until done is closed, and then the last ones.
func (l *AccessLog) run(done <-chan struct{}) {
	ticker := time.NewTicker(gather)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			l.flush()
			return
		case <-ticker.C:
			l.flush()
		}
	}
}

func (l *AccessLog) flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.write()
}

// write hands on what has gathered; writing is held.
func (l *AccessLog) write() {
	l.mu.Lock()
	lines, lost := l.lines, l.lost
	l.lines, l.lost = nil, 0
	l.mu.Unlock()
	if lost > 0 {
		l.Log.Warn("lines of the access log were lost, for they came faster than they could be written", "lines", lost)
	}
	l.feed.Give(lines)
	if len(lines) == 0 || l.To == nil {
		return
	}
	if _, err := l.To.Write(lines); err != nil {
		l.Log.Error("the access log cannot be written", "error", err)
	}
}

// noted is what a log wants to know of a request, taken before its bytes are used again.
func noted(r *http1.Request) *visit {
	return &visit{Host: string(r.Host()), Visit: http1.Visit{
		Time: time.Now(), Remote: r.Remote.Addr(), Method: string(r.Method), Target: string(r.Target), Version: "HTTP/1.1",
		Referer: string(r.Get("Referer")), Agent: string(r.Get("User-Agent")),
	}}
}

// other notes an answer through net/http.
func (l *AccessLog) other(r *http.Request, m *measured, begun time.Time) {
	l.note(visit{Host: r.Host, Member: m.member, Tried: m.tried, Took: time.Since(begun).Seconds(), Visit: http1.Visit{
		Time: begun, Remote: addressOf(r.RemoteAddr), Method: r.Method, Target: r.RequestURI, Version: r.Proto,
		Status: m.Status, Bytes: m.Size, Referer: r.Referer(), Agent: r.UserAgent(),
	}})
}

// measured is an answer through net/http, and who gave it.
type measured struct {
	http1.Measured
	member string
	tried  int // members before that one
}
