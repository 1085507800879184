package http1

import (
	"strconv"
	"syscall"
)

// exchange is a request that is relayed, from its client to the end of its answer.
type exchange struct {
	k       *link
	n       *trunk // nil between two origins
	relay   Relay
	request []byte
	rest    []byte // of request, to be sent
	head    bool   // the method is HEAD
	begun   bool   // the answer's head has gone to the client
	full    bool   // the client takes no more for now, so the origin is not read
	interim int    // answers before the final one
	res     Response
	end     BodyEnd
	left    int64 // bytes of a body by length
	chunks  Chunks
	body    int64 // bytes that came
}

// relay begins to have a request answered by others.
func (l *loop) relay(k *link, a *Answer) {
	l.flush(k, nil, nil)
	if k.gone {
		a.Relay.Over(0, ErrClient)
		return
	}
	x := l.newExchange()
	x.k, x.relay, x.head = k, a.Relay, len(l.req.Method) == len("HEAD")
	x.request, a.Space = a.Head, x.request // the handler goes on with the other one's memory
	k.x = x
	l.seek(x, nil)
}

func (l *loop) newExchange() *exchange {
	if last := len(l.spare) - 1; last >= 0 {
		x := l.spare[last]
		l.spare = l.spare[:last]
		return x
	}
	return &exchange{}
}

// free makes an exchange ready for the next request.
func (l *loop) free(x *exchange) {
	const mostSpare, largest = 256, 16 << 10
	request, fields := x.request[:0], x.res.Fields[:0]
	*x = exchange{request: request}
	x.res.Fields = fields
	if len(l.spare) < mostSpare && cap(request) <= largest {
		l.spare = append(l.spare, x)
	}
}

// seek asks origins until one takes the request. When nobody is left it lets the answer to that gather, and returns false.
func (l *loop) seek(x *exchange, failure error) bool {
	for {
		l.ans.clear()
		o := x.relay.Origin(failure, &l.ans)
		if o == nil {
			break
		}
		if failure = l.ask(x, o); failure == nil {
			return true
		}
	}
	k, relay := x.k, x.relay
	if k.x = nil; x.head {
		l.ans.Body, l.ans.File, l.ans.Open = nil, nil, nil
	}
	l.free(x)
	relay.Over(0, failure)
	l.reply(k, &l.ans)
	return false
}

// sought seeks another origin some time after the request came.
func (l *loop) sought(x *exchange, failure error) {
	k := x.k
	l.out = l.out[:0]
	if !l.seek(x, failure) {
		l.flush(k, nil, nil)
		l.carryOn(k)
	}
}

// ask sends a request to an origin, over a connection that waits or over a new one.
func (l *loop) ask(x *exchange, o *Origin) (err error) {
	n := l.kept(o)
	if n != nil {
		if err = l.put(x, n); err == nil {
			return nil
		}
	}
	if n, err = l.dial(o); err == nil {
		err = l.put(x, n)
	}
	return err
}

// put sends a request over a connection; after an error that is closed.
func (l *loop) put(x *exchange, n *trunk) error {
	x.n, n.x, x.rest, n.since = n, x, x.request, l.now
	err := l.say(n)
	if err != nil {
		l.part(x)
	}
	return err
}

// heard takes what an origin has sent. Data is only good until the next read.
func (l *loop) heard(x *exchange, data []byte) {
	first := !x.begun
	if first {
		if n := x.n; len(n.in) > 0 {
			n.in = append(n.in, data...)
			data = n.in
		}
		if data = l.begin(x, data); !x.begun {
			return
		}
	} else {
		l.out = l.out[:0]
	}
	content, rest, err := x.take(data)
	if err != nil {
		x.begun = !first // nothing of it has gone to the client
		l.failed(x, err)
		return
	}
	l.pass(x, content)
	if x.n == nil {
		return // the client has gone
	}
	if x.end == NoBody {
		l.complete(x, len(rest) == 0 && !x.res.Close)
	}
}

// begin reads the answer's head and makes the client's in l.out. It returns what follows.
func (l *loop) begin(x *exchange, data []byte) []byte {
	n := x.n
	for {
		length, err := x.res.Parse(data, Limits{Head: n.origin.Head}.forAnswers())
		switch {
		case err != nil:
			l.failed(x, err)
			return nil
		case length == 0:
			if n.in = append(n.in[:0], data...); len(n.in) == 0 {
				n.in = nil
			}
			return nil
		case x.res.Status >= 200:
			l.translate(x)
			return data[length:]
		}
		if x.interim++; x.res.Status == 101 || x.interim > mostInterim {
			l.failed(x, ErrUnasked)
			return nil
		}
		data = data[length:]
	}
}

// translate makes the head that the client gets.
func (l *loop) translate(x *exchange) {
	method := "GET"
	if x.head {
		method = "HEAD"
	}
	out, ok := x.relay.Answered(l.out[:0], &x.res)
	if !ok {
		l.failed(x, ErrUnwanted)
		return
	}
	x.end, x.left, x.chunks = x.res.Body(method), x.res.Length, Chunks{Limits: Limits{}.forAnswers()}
	x.begun, x.rest = true, nil
	switch {
	case x.res.Status == 204: // which has no framing, for some would wait for a body: RFC 9110, 8.6
	case x.res.Length >= 0:
		out = append(strconv.AppendInt(append(out, "Content-Length: "...), x.res.Length, 10), "\r\n"...)
	case x.end == ByChunks, x.end == WithClose:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	if x.res.Get("Date") == nil {
		out = append(out, l.date.line...)
	}
	if x.k.closing {
		out = append(out, "Connection: close\r\n"...)
	}
	l.out = append(out, "\r\n"...)
}

// take says how much of data is the answer's. When it is all there, x.end is NoBody and rest is what is too much.
func (x *exchange) take(data []byte) (content, rest []byte, err error) {
	switch x.end {
	case NoBody:
		return nil, data, nil
	case ByLength:
		n := min(x.left, int64(len(data)))
		if x.left -= n; x.left == 0 {
			x.end = NoBody
		}
		x.body += n
		return data[:n], data[n:], nil
	case ByChunks:
		at := 0
		for at < len(data) && !x.chunks.Done() {
			piece, n, err := x.chunks.Next(data[at:])
			if err != nil {
				return nil, nil, err
			}
			x.body, at = x.body+int64(len(piece)), at+n
		}
		if x.chunks.Done() {
			x.end = NoBody
		}
		return data[:at], data[at:], nil
	}
	x.body += int64(len(data))
	return data, nil, nil
}

// pass sends l.out and content to the client, and keeps what it does not take yet.
func (l *loop) pass(x *exchange, content []byte) {
	k := x.k
	if x.end == WithClose && len(content) > 0 { // in chunks, so that the client can tell the end from a break
		l.out = append(strconv.AppendInt(l.out, int64(len(content)), 16), "\r\n"...)
		l.out = append(append(l.out, content...), "\r\n"...)
		content = nil
	}
	if len(content) <= smallBody {
		l.out, content = append(l.out, content...), nil
	}
	first := l.out
	if len(first) == 0 {
		first, content = content, nil
	}
	if len(first) == 0 {
		return
	}
	sent := 0
	if len(k.out)+len(k.body) == 0 {
		n, err := send(k.fd, first, content, false)
		switch sent = n; {
		case err == syscall.EAGAIN: // it takes nothing at all: what it took last has filled it to the brim
		case err != nil:
			l.drop(k)
			return
		case n == len(first)+len(content):
			l.tally.bytes += int64(n)
			return
		}
	}
	l.tally.bytes += int64(sent)
	had := sent
	k.out = append(k.out, first[min(had, len(first)):]...)
	k.out = append(k.out, content[max(had-len(first), 0):]...)
	k.since, x.full = l.now, true
}

// failed gives up an origin for a request. Another one may be asked unless the client has something of the answer already.
func (l *loop) failed(x *exchange, why error) {
	l.part(x)
	if !x.begun {
		x.interim = 0
		l.sought(x, why)
		return
	}
	relay, body, k := x.relay, x.body, x.k
	k.x = nil
	l.free(x)
	relay.Over(body, why)
	l.drop(k)
}

// part closes an exchange's connection with its origin.
func (l *loop) part(x *exchange) {
	n := x.n
	x.n, n.x = nil, nil
	l.hangUp(n)
}

// complete ends an exchange whose answer has come whole.
func (l *loop) complete(x *exchange, reusable bool) {
	n, k, relay, body := x.n, x.k, x.relay, x.body
	n.x, k.x = nil, nil
	l.free(x)
	if n.in = nil; reusable {
		l.keepTrunk(n)
	} else {
		l.hangUp(n)
	}
	relay.Over(body, nil)
	if !k.busy() {
		l.carryOn(k)
	}
}

// abandon ends the exchange of a client that has gone.
func (l *loop) abandon(k *link) {
	x := k.x
	if x == nil {
		return
	}
	k.x = nil
	if x.n != nil {
		l.part(x)
	}
	relay, body := x.relay, x.body
	l.free(x)
	relay.Over(body, ErrClient)
}

// relaying goes on with a client whose answer is under way.
func (l *loop) relaying(k *link) {
	if len(k.out)+len(k.body) == 0 || !l.push(k) || k.x == nil {
		return
	}
	if x := k.x; x.full {
		x.full = false
		if x.n != nil {
			x.n.since = l.now
			l.hear(x.n, true)
		}
	}
}

// carryOn goes on with a client behind an answer.
func (l *loop) carryOn(k *link) {
	if l.stopping && len(k.in) == 0 {
		k.closing = true
	}
	if k.busy() || k.gone {
		return
	}
	l.resume(k)
}
