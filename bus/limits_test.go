package bus_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/fault"
	"bramble/trust"
)

// hold serves streams that last until their opener goes.
func hold(t *testing.T, c *bus.Conn, subject string) chan error {
	t.Helper()
	ended := make(chan error, 1024)
	err := bus.HandleStream(t.Context(), c, subject, func(ctx context.Context, _ bus.Caller, _ question, s *bus.Stream) error {
		if err := s.Send([]byte("here")); err != nil {
			return err
		}
		_, err := s.Recv()
		ended <- err
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ended
}

func TestProbeEndsStreamsOfWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bustest.Start(t)
		head, gone, stays := b.Head(), b.Client("ann", trust.Operator), b.Client("ann", trust.Operator)
		defer b.StopAll(head, stays, gone)
		ended := hold(t, head, "job.read.follow")
		var last *bus.Stream
		for _, c := range []*bus.Conn{gone, stays} {
			s, err := c.Open(t.Context(), "job.read.follow", question{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
			last = s
		}
		begun := time.Now()
		bus.Vanish(gone)
		synctest.Wait()
		head.Probe(gone.ID())
		if err := <-ended; !fault.Is(err, fault.Unreachable) {
			t.Errorf("the service was told %v", err)
		}
		if took := time.Since(begun); took >= bus.KeepAlive {
			t.Errorf("it took %s", took)
		}
		select {
		case err := <-ended:
			t.Errorf("the other connection's stream ended too: %v", err)
		case <-time.After(2 * bus.Lost):
		}
		last.Close()
	})
}

func TestLastWordsAreReadBeforeTheEnd(t *testing.T) {
	b := bustest.Start(t)
	head, client := b.Head(), b.Client("ann", trust.Operator)
	err := bus.HandleStream(t.Context(), head, "job.read.words", func(_ context.Context, _ bus.Caller, _ question, s *bus.Stream) error {
		return errors.Join(s.Send([]byte("one")), s.Send([]byte("two")))
	})
	if err != nil {
		t.Fatal(err)
	}
	head.Flush(t.Context())
	for range 300 {
		s, err := client.Open(t.Context(), "job.read.words", question{})
		if err != nil {
			t.Fatal(err)
		}
		words := ""
		for data, err := range s.Messages() {
			if err != nil {
				t.Fatal(err)
			}
			words += string(data)
		}
		if words != "onetwo" {
			t.Fatalf("read %q", words)
		}
	}
}

func TestStreamsOfOneCallerAreBounded(t *testing.T) {
	b := bustest.Start(t)
	head, greedy, other := b.Head(), b.Client("ann", trust.Operator), b.Client("bob", trust.Viewer)
	hold(t, head, "job.read.follow")
	open := func(c *bus.Conn) (*bus.Stream, error) {
		s, err := c.Open(t.Context(), "job.read.follow", question{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Recv()
		return s, err
	}
	var streams []*bus.Stream
	for range bus.MaxStreams {
		s, err := open(greedy)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	if _, err := open(greedy); !fault.Is(err, fault.Full) {
		t.Errorf("one more: %v", err)
	}
	if _, err := open(other); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	for _, s := range streams {
		s.Close()
	}
	for { // until the service has seen them go
		if _, err := open(greedy); err == nil {
			return
		}
	}
}

func TestPeerThatDisregardsTheWindowIsCutOff(t *testing.T) {
	b := bustest.Start(t)
	head, client := b.Head(), b.Client("ann", trust.Operator)
	release, verdict := make(chan struct{}), make(chan error, 1)
	err := bus.HandleStream(t.Context(), head, "job.do.feed", func(ctx context.Context, _ bus.Caller, _ question, s *bus.Stream) error {
		s.Send([]byte("ready"))
		<-ctx.Done()
		<-release
		for {
			if _, err := s.Recv(); err != nil {
				verdict <- err
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	head.Flush(t.Context())
	s, err := client.Open(t.Context(), "job.do.feed", question{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	for range 16 {
		if err := bus.Force(s, make([]byte, bus.MaxFrame)); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := <-verdict; err == io.EOF || !fault.Is(err, fault.Failed) {
		t.Errorf("got %v", err)
	}
}

func TestFloodLeavesTheHeadConnected(t *testing.T) {
	b := bustest.Start(t)
	head, node := b.Head(), b.Node("pi1")
	err := head.Subscribe(t.Context(), bus.From("fleet", "*", "beat"), func(m bus.Message) {
		var v map[string]any
		m.Decode(&v)
	})
	if err != nil {
		t.Fatal(err)
	}
	handle(t, head, "job.do.submit")
	big := append(append([]byte(`{"a":"`), make([]byte, bus.MaxMessage-64)...), `"}`...)
	for range 600 {
		if node.Publish(bus.From("fleet", "pi1", "beat"), big) != nil {
			break // cut off: as good
		}
	}
	node.Flush(t.Context())
	var a answer
	if err := b.Client("ann", trust.Operator).Call(t.Context(), "job.do.submit", question{1}, &a); err != nil || a.N != 2 {
		t.Errorf("after the flood: %v, %v", a, err)
	}
}

func TestStreamToWhoListensAMomentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bustest.Start(t)
		head, node := b.Head(), b.Node("pi1")
		defer b.StopAll(head, node)
		s, err := head.Open(t.Context(), bus.Node("fan", "pi1", "run"), question{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(bus.Settle / 2)
		hold(t, node, bus.Node("fan", "pi1", "run"))
		if data, err := s.Recv(); err != nil || string(data) != "here" {
			t.Errorf("got %q, %v", data, err)
		}
		s.Close()
		begun := time.Now()
		if s, err = head.Open(t.Context(), bus.Node("fan", "pi2", "run"), question{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); !fault.Is(err, fault.Unreachable) || time.Since(begun) > 2*bus.Settle {
			t.Errorf("nobody at all: %v after %s", err, time.Since(begun))
		}
	})
}
