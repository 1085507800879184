package web

import (
	"bytes"
	"context"
	"hash/maphash"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"bramble/fault"
	"bramble/metric"
)

// Live pages get pieces of themselves as Server-Sent Events, and static/live.js puts them in
// their places. A message holds elements, each with the id of the one that it replaces, and among them
// these signs, each an <i> with one attribute:
//
//	data-into=BOX data-after=ID   where the next element goes if there is none with its id: after ID, or first
//	data-last                     the next element goes last into BOX
//	data-gone=ID                  that element goes away
//	data-only=BOX data-ids=…      so do those of the box that are not listed

const (
	maxStreams        = 512 // open at once, in all
	maxSessionStreams = 16  // of one session
	streamTime        = 20 * time.Second
	lookEvery         = 500 * time.Millisecond // at most two messages a second
	aliveEvery        = 15 * time.Second
)

// fragment is an element of a page with an id of its own.
type fragment struct {
	ID   string
	HTML template.HTML
	Hash uint64 // of HTML
	Box  string // element that it goes into when it is new; "" for one that every page has
}

// streams bounds how many are open.
type streams struct {
	mu   sync.Mutex
	of   map[string]int // by session
	open int
}

func newStreams(m *metric.Set) *streams {
	s := &streams{of: map[string]int{}}
	m.Gauge("bramble_web_streams", "Live pages open.", func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(s.open)
	})
	return s
}

func (s *streams) take(session string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= maxStreams || s.of[session] >= maxSessionStreams {
		return fault.New(fault.Full, "too many live pages are open").Hint("close some, or wait")
	}
	s.open++
	s.of[session]++
	return nil
}

func (s *streams) release(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.of[session]--; s.of[session] == 0 {
		delete(s.of, session)
	}
}

// stream is one browser that is being told.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	spoke   time.Time
}

// live runs tell with a stream, until it returns or the session ends.
func (s *Server) live(w http.ResponseWriter, r *http.Request, v visitor, tell func(ctx context.Context, out *stream) error) error {
	if err := s.streams.take(v.id); err != nil {
		return err
	}
	defer s.streams.release(v.id)
	w.Header().Set("Content-Type", "text/event-stream")
	out := &stream{w: w, control: http.NewResponseController(w)}
	if err := out.write(": hello\n\n"); err != nil {
		return nil
	}
	if err := tell(r.Context(), out); err != nil && r.Context().Err() == nil {
		s.Log.Debug("live page ended", "path", r.URL.Path, "error", err)
		out.send("problem", "", template.HTML(template.HTMLEscapeString(fault.Of(err).Text)))
	}
	return nil
}

// still tells the browser that its session has ended, and whether it has not.
func (s *Server) still(v visitor, out *stream) bool {
	if _, err := s.SignIn.Session(v.id); err != nil {
		out.send("over", "", "")
		return false
	}
	if time.Since(out.spoke) >= aliveEvery {
		return out.write(": here\n\n") == nil
	}
	return true
}

// send sends one message; id is where a browser that comes back goes on.
func (out *stream) send(event, id string, html template.HTML) error {
	var b bytes.Buffer
	if event != "" {
		b.WriteString("event: " + event + "\n")
	}
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	text := strings.ReplaceAll(string(html), "\r", "&#13;") // which would end a line of the message
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteString("\n")
	return out.write(b.String())
}

func (out *stream) write(text string) error {
	out.control.SetWriteDeadline(time.Now().Add(streamTime))
	if _, err := out.w.Write([]byte(text)); err != nil {
		return err
	}
	out.spoke = time.Now()
	return out.control.Flush()
}

// frames streams the moving parts of a page: what look returns, where it differs from what the browser
// has. look is called every so often, and is done when it says so.
func (s *Server) frames(w http.ResponseWriter, r *http.Request, v visitor, every time.Duration, look func(context.Context) (list []fragment, done bool, err error)) error {
	return s.live(w, r, v, func(ctx context.Context, out *stream) error {
		tick := time.NewTicker(every)
		defer tick.Stop()
		sent := map[string]uint64{}
		for s.still(v, out) {
			list, done, err := look(ctx)
			if err != nil {
				return err
			}
			if html := changes(list, sent); html != "" {
				if err := out.send("", "", html); err != nil {
					return nil
				}
			}
			if done {
				return out.send("done", "", "")
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
		return nil
	})
}

// changes is what a browser that has sent needs to have list, and notes it there.
func changes(list []fragment, sent map[string]uint64) template.HTML {
	var b strings.Builder
	if len(sent) == 0 {
		only(&b, list)
	}
	last := map[string]string{} // by box
	here := make(map[string]bool, len(list))
	for _, f := range list {
		here[f.ID] = true
		had, known := sent[f.ID]
		if f.Box != "" && !known {
			b.WriteString(`<i data-into="` + f.Box + `" data-after="` + last[f.Box] + `"></i>`)
		}
		if !known || had != f.Hash {
			b.WriteString(string(f.HTML))
			sent[f.ID] = f.Hash
		}
		last[f.Box] = f.ID
	}
	for id := range sent {
		if !here[id] {
			b.WriteString(`<i data-gone="` + id + `"></i>`)
			delete(sent, id)
		}
	}
	return template.HTML(b.String())
}

// only takes out of each box what went away before the stream began.
func only(b *strings.Builder, list []fragment) {
	boxes := map[string][]string{}
	for _, f := range list {
		if f.Box != "" {
			boxes[f.Box] = append(boxes[f.Box], f.ID)
		}
	}
	for box, ids := range boxes {
		b.WriteString(`<i data-only="` + box + `" data-ids="` + strings.Join(ids, " ") + `"></i>`)
	}
}

// piece is something new to add to a page, and where a browser that comes back goes on.
type piece struct {
	id   string
	html template.HTML
}

// maxMessage is about how many bytes of new pieces go into one message.
const maxMessage = 64 << 10

// pushes streams what is made, as it is made, a few messages a second.
func (s *Server) pushes(w http.ResponseWriter, r *http.Request, v visitor, produce func(ctx context.Context, emit func(piece) bool) error) error {
	return s.live(w, r, v, func(ctx context.Context, out *stream) error {
		ctx, cancel := context.WithCancel(ctx)
		pieces, ended := make(chan piece), make(chan error, 1)
		var busy sync.WaitGroup
		defer busy.Wait()
		defer cancel()
		busy.Go(func() {
			defer close(pieces)
			ended <- produce(ctx, func(p piece) bool {
				select {
				case pieces <- p:
					return true
				case <-ctx.Done():
					return false
				}
			})
		})
		for ctx.Err() == nil && s.still(v, out) {
			batch, open := gather(ctx, pieces)
			if batch.html != "" {
				if err := out.send("", batch.id, batch.html); err != nil {
					return nil
				}
			}
			if !open {
				if err := <-ended; err != nil || ctx.Err() != nil {
					return err
				}
				return out.send("done", "", "")
			}
		}
		return nil
	})
}

// gather joins what comes within a short time; open is false when no more will come.
func gather(ctx context.Context, pieces <-chan piece) (batch piece, open bool) {
	var html strings.Builder
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for html.Len() < maxMessage {
		select {
		case p, ok := <-pieces:
			if !ok {
				return piece{batch.id, template.HTML(html.String())}, false
			}
			if html.Len() == 0 { // show the first soon, and what comes with it
				timer.Reset(lookEvery / 5)
			}
			html.WriteString(string(p.html))
			if p.id != "" {
				batch.id = p.id
			}
		case <-timer.C:
			return piece{batch.id, template.HTML(html.String())}, true
		case <-ctx.Done():
			return piece{batch.id, template.HTML(html.String())}, true
		}
	}
	return piece{batch.id, template.HTML(html.String())}, true
}

// fragment renders a part of a page that has an id.
func (s *Server) fragment(page, name, id, box string, data any) (fragment, error) {
	html, err := s.pages.part(page, name, data)
	return fragment{ID: id, HTML: html, Hash: maphash.String(s.watch.seed, string(html)), Box: box}, err
}

// fragments renders parts of a page that are called as their ids are.
func (s *Server) fragments(page string, data any, names ...string) (list []fragment, err error) {
	for _, name := range names {
		f, err := s.fragment(page, name, name, "", data)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}
