package artefact

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bramble/fault"
)

// Client moves blobs to and from one Handler. It may be used concurrently.
type Client struct {
	// HTTP brings the certificate. It has no Timeout, which would end long transfers, and its
	// transport keeps Width idle connections a host, or every other small file costs a handshake.
	HTTP *http.Client
	Base string // such as "https://head:7651"

	Width int           // blobs on their way at the same time; 0: 4
	Tries int           // tries in a row that may move nothing; 0: 8
	Pause time.Duration // before the second try, doubling up to 5 s; 0: 200 ms
	Idle  time.Duration // longest silence of the server; 0: 60 s
	Quiet time.Duration // silence after which a source of a Chain is asked whether it is there; 0: 3 s
	Busy  time.Duration // how long a server may be busy before it counts as gone; 0: 15 min

	limiter   *rate.Limiter // of what it sends; nil: none
	courteous bool          // what it asks for yields to visitors
}

// Limited is the same client, which sends no more than so many bytes a second; 0: as many as go.
func (c *Client) Limited(limit int64) *Client {
	slow := *c
	if slow.limiter = nil; limit > 0 {
		slow.limiter = limiterOf(limit)
	}
	return &slow
}

// limiterOf lets so many bytes a second pass.
func limiterOf(limit int64) *rate.Limiter { return rate.NewLimiter(rate.Limit(limit), bufferSize) }

func (c *Client) patience() patience {
	return patience{
		tries: cmp.Or(c.Tries, 8),
		lies:  3,
		pause: cmp.Or(c.Pause, 200*time.Millisecond),
		wait:  cmp.Or(c.Busy, 15*time.Minute),
	}
}

func (c *Client) width() int { return cmp.Or(c.Width, 4) }

// Missing returns those of refs that the server does not have; it keeps the others from being collected for a grace.
func (c *Client) Missing(ctx context.Context, refs []Ref) ([]Ref, error) {
	var missing []Ref
	for part := range slices.Chunk(refs, MaxMissing) {
		question, err := json.Marshal(part)
		if err != nil {
			return nil, err
		}
		err = c.persist(ctx, "ask what is missing", func(ctx context.Context) try {
			list, t := c.ask(ctx, question)
			if t.outcome == done {
				missing = append(missing, list...)
			}
			return t
		})
		if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

func (c *Client) ask(ctx context.Context, question []byte) ([]Ref, try) {
	x, stop := c.exchange(ctx)
	defer stop()
	resp, err := x.send(http.MethodPost, "missing", bytes.NewReader(question), nil)
	if err != nil {
		return nil, x.failed(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, x.refused(resp)
	}
	var list []Ref
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&list); err != nil {
		return nil, x.failed(fmt.Errorf("read the answer: %w", err))
	}
	return list, try{}
}

// try is how one try ended.
type try struct {
	outcome outcome
	moved   bool          // something arrived that had not before
	asked   time.Duration // the pause that the server asks for
	err     error
}

// persist calls do until it is done, cannot succeed, or patience is over.
func (c *Client) persist(ctx context.Context, what string, do func(context.Context) try) error {
	limits, e := c.patience(), effort{}
	for {
		t := do(ctx)
		if t.outcome == done {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		var pause time.Duration
		var again bool
		e, pause, again = limits.next(e, t.outcome, t.moved, t.asked, rand.Float64())
		if !again {
			return c.giveUp(what, t)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (c *Client) giveUp(what string, t try) error {
	switch t.outcome {
	case final:
		return blame(t.err, "%s", what)
	case lied:
		return fault.New(fault.Failed, "%s: %s gave wrong bytes again and again: %w", what, c.Base, t.err).
			Hint("bramble doctor, on that machine: its disk or memory may be failing")
	}
	return fault.New(fault.Unreachable, "%s: gave up on %s: %w", what, c.Base, t.err).
		Hint("the same again: it goes on where it stopped")
}

var errSilent = errors.New("the server fell silent")

// exchange is one request whose server may not fall silent.
type exchange struct {
	c     *Client
	ctx   context.Context
	cut   context.CancelCauseFunc
	timer *time.Timer
}

// exchange starts the watch; stop ends it, and the request with it.
func (c *Client) exchange(ctx context.Context) (x *exchange, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	x = &exchange{c: c, ctx: ctx, cut: cancel}
	x.timer = time.AfterFunc(x.idle(), func() { cancel(errSilent) })
	return x, func() {
		x.timer.Stop()
		cancel(context.Canceled)
	}
}

func (x *exchange) idle() time.Duration { return cmp.Or(x.c.Idle, time.Minute) }

// alive starts the time anew in which something must happen.
func (x *exchange) alive(d time.Duration) { x.timer.Reset(d) }

// send sends the request; head edits it.
func (x *exchange) send(method, name string, body io.Reader, head func(*http.Request)) (*http.Response, error) {
	target := strings.TrimRight(x.c.Base, "/") + prefix + name
	req, err := http.NewRequestWithContext(x.ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if x.c.courteous {
		req.Header.Set(headerCourtesy, "yes")
	}
	if head != nil {
		head(req)
	}
	return x.c.HTTP.Do(req)
}

// failed is a try without an answer.
func (x *exchange) failed(err error) try {
	if cause := context.Cause(x.ctx); errors.Is(cause, errSilent) {
		err = cause
	}
	if wrong, ok := errors.AsType[*url.Error](err); ok {
		err = wrong.Err // the address is named already
	}
	_, stranger := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	if stranger || alert {
		return try{outcome: final, err: fault.New(fault.Denied, "%s and this machine do not trust each other: %w", x.c.Base, err).
			Hint("bramble doctor")}
	}
	return try{outcome: broken, err: err}
}

// refused is a try with an answer that is not what was asked for.
func (x *exchange) refused(resp *http.Response) try {
	t := try{outcome: outcomeOf(resp.StatusCode)}
	told := &fault.Error{}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(data, told) != nil || told.Text == "" {
		told = fault.New(codeOf(resp.StatusCode), "%s answered %s", x.c.Base, resp.Status)
	}
	t.err = told
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		t.asked = time.Duration(min(seconds, 60)) * time.Second
	}
	return t
}

// meter adds up what many transfers have in place.
type meter struct {
	mu          sync.Mutex
	done, total int64
	tell        Progress
}

// add changes what is in place and what is wanted.
func (m *meter) add(done, total int64) {
	if done == 0 && total == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += done
	m.total += total
	if m.tell != nil {
		m.tell(m.done, m.total)
	}
}

// part is one blob's share of a meter.
type part struct {
	m    *meter
	mu   sync.Mutex
	have int64
}

// set says how much of the blob is in place.
func (p *part) set(have int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.add(have-p.have, 0)
	p.have = have
}

// grow counts a blob of unknown size as wanted once it is here.
func (p *part) grow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.add(0, p.have)
}
