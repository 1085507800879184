package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/fault"
	"bramble/trust"
)

func TestMain(m *testing.M) { bustest.Main(m) }

type question struct{ N int }
type answer struct {
	N   int
	Who string
}

func handle(t *testing.T, c *bus.Conn, subject string) {
	t.Helper()
	err := bus.Handle(t.Context(), c, subject, func(_ context.Context, who bus.Caller, q question) (answer, error) {
		if q.N < 0 {
			return answer{}, fault.New(fault.Misused, "%d is negative", q.N).Hint("a positive number")
		}
		return answer{q.N + 1, who.String()}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestCall(t *testing.T) {
	b := bustest.Start(t)
	head := b.Head()
	handle(t, head, "job.do.submit")
	handle(t, head, bus.From("fleet", "*", "hello"))
	handle(t, b.Node("pi1"), bus.Node("fan", "pi1", "run"))

	tests := []struct {
		name    string
		from    *bus.Conn
		subject string
		n       int
		want    answer
		code    fault.Code
	}{
		{"operator asks", b.Client("ann", trust.Operator), "job.do.submit", 1, answer{2, "ann (operator)"}, ""},
		{"error comes with its code", b.Client("ann", trust.Operator), "job.do.submit", -1, answer{}, fault.Misused},
		{"head asks node", head, bus.Node("fan", "pi1", "run"), 5, answer{6, "head head"}, ""},
		{"node asks head", b.Node("pi1"), bus.From("fleet", "pi1", "hello"), 7, answer{8, "node pi1"}, ""},
		{"nobody there", head, bus.Node("fan", "pi2", "run"), 1, answer{}, fault.Unreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got answer
			err := tt.from.Call(t.Context(), tt.subject, question{tt.n}, &got)
			if tt.code != "" {
				if !fault.Is(err, tt.code) {
					t.Fatalf("error %v, want code %s", err, tt.code)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// A party may only speak in its own name and class; the server drops all else.
func TestPermissions(t *testing.T) {
	b := bustest.Start(t)
	head := b.Head()
	heard := make(chan string, 100)
	if err := head.Subscribe(t.Context(), ">", func(m bus.Message) { heard <- m.Subject }); err != nil {
		t.Fatal(err)
	}
	head.Flush(t.Context())
	viewer, node := b.Client("vic", trust.Viewer), b.Node("pi1")
	tests := []struct {
		name    string
		from    *bus.Conn
		subject string
		passes  bool
	}{
		{"viewer runs", viewer, "fan.do.run.vic.viewer", false},
		{"viewer claims to be an admin", viewer, "fan.do.run.vic.admin", false},
		{"viewer speaks as somebody else", viewer, "fan.read.list.ann.viewer", false},
		{"viewer commands a node", viewer, "fan.node.pi1.run", false},
		{"viewer reports as a node", viewer, "fleet.from.pi1.beat", false},
		{"viewer answers into an inbox", viewer, "_INBOX.client-ann-admin.x", false},
		{"viewer touches the journal", viewer, "$JS.API.STREAM.LIST", false},
		{"viewer reads", viewer, "fleet.read.nodes.vic.viewer", true},
		{"node commands a node", node, "fan.node.pi2.run", false},
		{"node commands itself", node, "fan.node.pi1.run", false},
		{"node asks as a client", node, "job.do.submit.ann.operator", false},
		{"node touches the journal", node, "$JS.API.STREAM.CREATE.x", false},
		{"node reports as another", node, "fleet.from.pi2.beat", false},
		{"node writes to another's stream", node, "_S.node-pi2.a.head", false},
		{"node writes in another's lane", node, "_S.head.a.node-pi2", false},
		{"node writes in its own lane", node, "_S.head.a.node-pi1", true},
		{"node speaks for the server to a stream", node, "_S.head.a.node-pi1.1", false},
		{"node answers for another", node, "_INBOX.head.a.node-pi2.1", false},
		{"node answers what the head asks itself", node, "_INBOX.head.a.b", false},
		{"node answers", node, "_INBOX.head.a.node-pi1.1", true},
		{"node reports", node, "fleet.from.pi1.beat", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := rawPublish(tt.from, tt.subject); err != nil {
				t.Fatal(err)
			}
			tt.from.Flush(t.Context())
			head.Publish("fleet.node.mark.mark", nil)
			got := false
			for s := range heard {
				if s == "fleet.node.mark.mark" {
					break
				}
				got = got || s == tt.subject
			}
			if got != tt.passes {
				t.Errorf("%s passes: %v, want %v", tt.subject, got, tt.passes)
			}
		})
	}
	t.Run("node listens to another's commands", func(t *testing.T) {
		spied := make(chan string, 1)
		node.Subscribe(t.Context(), "fan.node.pi2.run", func(m bus.Message) { spied <- m.Subject })
		node.Subscribe(t.Context(), "_INBOX.>", func(m bus.Message) { spied <- m.Subject })
		node.Flush(t.Context())
		head.Publish("fan.node.pi2.run", nil)
		head.Publish("_INBOX.client-ann-admin.1", nil)
		head.Flush(t.Context())
		node.Flush(t.Context())
		select {
		case s := <-spied:
			t.Errorf("heard %s", s)
		default:
		}
	})
}

func rawPublish(c *bus.Conn, subject string) error { return c.Publish(subject, []byte("x")) }

func TestAnswerOnlyToTheCaller(t *testing.T) {
	b := bustest.Start(t)
	head := b.Head()
	handle(t, head, "job.do.submit")
	eve, ann := b.Client("eve", trust.Operator), b.Client("ann", trust.Admin)
	got := make(chan bus.Message, 1)
	ann.Subscribe(t.Context(), "_INBOX.client-ann-admin.1", func(m bus.Message) { got <- m })
	ann.Flush(t.Context())
	if err := bus.PublishReply(eve, "job.do.submit.eve.operator", "_INBOX.client-ann-admin.1", []byte(`{"N":1}`)); err != nil {
		t.Fatal(err)
	}
	eve.Flush(t.Context())
	if m := <-got; bytes.Contains(m.Data, []byte("eve")) {
		t.Fatalf("ann was sent the answer to eve's request: %s", m.Data)
	}
}

func TestStream(t *testing.T) {
	b := bustest.Start(t)
	head, node := b.Head(), b.Node("pi1")
	subject := bus.Node("fan", "pi1", "run")
	bus.HandleStream(t.Context(), node, subject, func(ctx context.Context, _ bus.Caller, q question, s *bus.Stream) error {
		for data, err := range s.Messages() { // echo what comes, then tell how it went
			if err != nil {
				return err
			}
			if err := s.Send(data); err != nil {
				return err
			}
		}
		if q.N > 0 {
			return fault.New(fault.Failed, "exit %d", q.N)
		}
		return nil
	})
	node.Flush(t.Context())

	for _, code := range []int{0, 3} {
		s, err := head.Open(t.Context(), subject, question{code})
		if err != nil {
			t.Fatal(err)
		}
		const n = 200 // 200 × 16 KiB is far more than a window each way
		var sent, got bytes.Buffer
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range n {
				data := bytes.Repeat([]byte{byte(i)}, 16<<10)
				sent.Write(data)
				if err := s.Send(data); err != nil {
					t.Error(err)
					return
				}
			}
			s.CloseSend()
		})
		var last error
		for {
			data, err := s.Recv()
			if err != nil {
				last = err
				break
			}
			got.Write(data)
		}
		wg.Wait()
		if !bytes.Equal(sent.Bytes(), got.Bytes()) {
			t.Errorf("sent %d bytes, got %d", sent.Len(), got.Len())
		}
		if code == 0 && last != io.EOF || code != 0 && (last == io.EOF || last.Error() != "exit 3") {
			t.Errorf("ended with %v for code %d", last, code)
		}
	}
}

// A reader that takes nothing stops the writer after one window; nothing piles up.
func TestStreamHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bustest.Start(t)
		head, node := b.Head(), b.Node("pi1")
		ctx, cancel := context.WithCancel(t.Context())
		sent := 0
		bus.HandleStream(ctx, node, bus.Node("fan", "pi1", "run"), func(ctx context.Context, _ bus.Caller, _ question, s *bus.Stream) error {
			for {
				if err := s.Send(make([]byte, 1024)); err != nil {
					return err
				}
				sent++
			}
		})
		node.Flush(ctx)
		s, err := head.Open(ctx, bus.Node("fan", "pi1", "run"), question{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // keep-alives hold the stream open meanwhile
		synctest.Wait()
		if sent != bus.Window/1024 {
			t.Errorf("%d KiB sent to a reader that takes nothing, want %d", sent, bus.Window/1024)
		}
		if _, err := s.Recv(); err != nil {
			t.Errorf("stream broken after a minute's pause: %v", err)
		}
		cancel()
		b.StopAll(node, head)
	})
}

func TestStreamEndsWithItsOpener(t *testing.T) {
	tests := map[string]func(cancel context.CancelFunc, opener *bus.Conn, s *bus.Stream){
		"cancelled": func(cancel context.CancelFunc, _ *bus.Conn, _ *bus.Stream) { cancel() },
		"closed":    func(_ context.CancelFunc, _ *bus.Conn, s *bus.Stream) { s.Close() },
		"vanished":  func(_ context.CancelFunc, opener *bus.Conn, _ *bus.Stream) { bus.Vanish(opener) },
	}
	for name, leave := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bustest.Start(t)
				head, ann := b.Head(), b.Client("ann", trust.Operator)
				ended := make(chan error, 1)
				begun := make(chan bool, 1)
				serving, stop := context.WithCancel(t.Context())
				bus.HandleStream(serving, head, "fan.do.run", func(ctx context.Context, _ bus.Caller, _ question, s *bus.Stream) error {
					begun <- true
					<-ctx.Done()
					ended <- context.Cause(ctx)
					return nil
				})
				head.Flush(t.Context())
				ctx, cancel := context.WithCancel(t.Context())
				s, err := ann.Open(ctx, "fan.do.run", question{})
				if err != nil {
					t.Fatal(err)
				}
				<-begun
				leave(cancel, ann, s)
				if err := <-ended; err == nil {
					t.Error("no reason given")
				}
				cancel()
				stop()
				b.StopAll(ann, head)
			})
		})
	}
}

func TestStreamToNobody(t *testing.T) {
	b := bustest.Start(t)
	s, err := b.Head().Open(t.Context(), bus.Node("fan", "ghost", "run"), question{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !fault.Is(err, fault.Unreachable) {
		t.Errorf("got %v, want unreachable", err)
	}
}

// Who hangs is not waited for, and who asked is told what to do.
func TestStreamToSilence(t *testing.T) {
	for text, subject := range map[string]string{"the head has been silent for 20s": "fan.do.run", "the node has been silent for 20s": bus.Node("fan", "pi", "run")} {
		t.Run(text, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bustest.Start(t)
				head, pi, ann := b.Head(), b.Node("pi"), b.Client("ann", trust.Operator)
				silent, asks, hears := head, ann, "fan.do.run.>"
				if subject != "fan.do.run" {
					silent, asks, hears = pi, head, subject
				}
				ctx, stop := context.WithCancel(t.Context())
				silent.Subscribe(ctx, hears, func(bus.Message) {})
				silent.Flush(t.Context())
				s, err := asks.Open(t.Context(), subject, question{})
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				if s.Answered(bus.Settle) || time.Since(begun) != bus.Settle {
					t.Errorf("it has answered, after %s", time.Since(begun))
				}
				_, err = s.Recv()
				if f := fault.Of(err); f.Code != fault.Unreachable || f.Text != text || f.Try == "" {
					t.Errorf("got %+v", f)
				}
				stop()
				b.StopAll(ann, pi, head)
			})
		})
	}
}

func TestPresenceAndKick(t *testing.T) {
	b := bustest.Start(t)
	events := make(chan bus.Presence, 10)
	watching, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.Watch(watching, func(p bus.Presence) { events <- p }) })
	waitFor := func(id string, connected bool) {
		for p := range events {
			if p.ID.String() == id && p.Connected == connected {
				return
			}
		}
	}
	for { // until the watcher listens
		c := b.Node("probe")
		c.Close()
		select {
		case <-events:
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	node := b.Node("pi1")
	waitFor("node/pi1", true)
	if n := b.Kick(func(id trust.Identity) bool { return id.Name == "pi1" }); n != 1 {
		t.Errorf("kicked %d connections, want 1", n)
	}
	waitFor("node/pi1", false)
	if err := node.Flush(t.Context()); err == nil {
		t.Error("a kicked node still speaks")
	}
	stop()
	wg.Wait()
}

func TestBucket(t *testing.T) {
	b := bustest.Start(t)
	ctx := t.Context()
	bucket, err := b.Head().Bucket(ctx, "trust")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Get(ctx, "token.a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if err := errors.Join(bucket.Create(ctx, "token.a", []byte("1")), bucket.Put(ctx, "token.b", []byte("2")), bucket.Put(ctx, "cert.c", []byte("3"))); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Create(ctx, "token.a", []byte("9")); !fault.Is(err, fault.Conflict) {
		t.Errorf("second create: %v", err)
	}
	if err := bucket.Delete(ctx, "token.b"); err != nil {
		t.Fatal(err)
	}
	all, err := bucket.List(ctx, "token.")
	if err != nil || fmt.Sprint(all) != "map[token.a:[49]]" {
		t.Errorf("list: %v, %v", all, err)
	}
	if err := bucket.Create(ctx, "token.b", []byte("4")); err != nil {
		t.Errorf("create after delete: %v", err)
	}
}
