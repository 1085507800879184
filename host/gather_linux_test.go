package host

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// gatherPair is a gathered connection and the one that answers it.
func gatherPair(t *testing.T) (*gathered, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	asking, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	answering, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { asking.Close(); answering.Close() })
	return Gathered(asking).(*gathered), answering
}

// Answers come as they were sent, long ones with any end, and a short one after a long one at once.
func TestGatheredAnswers(t *testing.T) {
	g, peer := gatherPair(t)
	question := make([]byte, 1)
	for _, size := range []int{1, 100, longAnswer, 3*longAnswer + 1, 5, 2*longAnswer + gatherWake - 1, 7} {
		want := make([]byte, size)
		rand.Read(want)
		go func() {
			if _, err := io.ReadFull(peer, question); err != nil {
				return
			}
			for piece := range slices.Chunk(want, 3001) {
				peer.Write(piece)
			}
		}()
		if _, err := g.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size)
		if _, err := io.ReadFull(g, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("an answer of %d bytes: %v, and it is another: %v", size, err, !bytes.Equal(got, want))
		}
	}
}

// However many packets a long answer comes in, it is looked for once in a while only.
func TestGatheredIsSeldomWoken(t *testing.T) {
	g, peer := gatherPair(t)
	const pieces = 400
	go func() {
		peer.Write(make([]byte, longAnswer))
		for range pieces {
			peer.Write(make([]byte, 1000))
			time.Sleep(100 * time.Microsecond)
		}
		peer.Close()
	}()
	if _, err := io.ReadFull(g, make([]byte, longAnswer)); err != nil {
		t.Fatal(err)
	}
	begun, looked, got := time.Now(), 0, 0
	for {
		n, err := g.gather()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got += n
		if !g.full {
			looked++
		}
	}
	if got != pieces*1000 {
		t.Errorf("%d bytes came, want %d", got, pieces*1000)
	}
	if most := int(time.Since(begun)/gatherFor) + 2; looked > most {
		t.Errorf("it looked %d times in %v, want at most %d", looked, time.Since(begun), most)
	}
}

// Who closes the connection ends a read that waits, and what the other end says last still comes.
func TestGatheredEnds(t *testing.T) {
	g, peer := gatherPair(t)
	go func() { peer.Write(make([]byte, longAnswer+10)); peer.Close() }()
	if data, err := io.ReadAll(g); err != nil || len(data) != longAnswer+10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}

	g, peer = gatherPair(t)
	go func() { peer.Write(make([]byte, longAnswer+10)) }()
	if _, err := io.ReadFull(g, make([]byte, longAnswer+10)); err != nil {
		t.Fatal(err)
	}
	go g.Close()
	if _, err := g.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of a closed connection: %v", err)
	}
}
