package job

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/trust"
)

// The head signs for ranks of an attempt that the asking node has a share of, and for nobody else's.
func TestTheHeadCertifiesRanksOfAnAllocation(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, three, func(c *cluster) {
		ca, err := trust.CreateCA(dir, "test", time.Now)
		if err != nil {
			t.Fatal(err)
		}
		c.jobs.Ranks = ca
		id := c.submit(Spec{Args: []string{"sleep", "1000"}, Nodes: 2, Ranks: 2})
		time.Sleep(time.Second)
		key, _ := trust.NewKey()
		csr, _ := trust.NewRequest(key)
		ask := func(node, as string, req certRequest) (a certAnswer, err error) {
			req.Request = csr
			return a, c.nodes[node].conn.Call(c.t.Context(), bus.From("job", as, "certify"), req, &a)
		}
		attempt := Key{Job: id, Attempt: 1}
		for _, node := range three[:2] {
			a, err := ask(node, node, certRequest{Key: attempt, Step: "abc", Rank: 1})
			if err != nil {
				t.Fatal(err)
			}
			cred, err := trust.NewRankCredential(key, a.Cert, a.CA)
			if want := (trust.Rank{Attempt: "1.0.1", Step: "abc", Rank: 1}); err != nil || cred.Rank != want || !a.Time.Equal(time.Now()) {
				t.Errorf("%s got %+v at %s, %v", node, cred, a.Time, err)
			}
		}
		for _, refused := range []struct {
			node, as string
			req      certRequest
			want     fault.Code
		}{
			{"node3", "node3", certRequest{Key: attempt, Step: "abc"}, fault.Denied},
			{"node1", "node1", certRequest{Key: Key{Job: id, Attempt: 2}, Step: "abc"}, fault.Denied},
			{"node1", "node1", certRequest{Key: attempt, Step: "a/b"}, fault.Misused},
			{"node1", "node1", certRequest{Key: attempt, Step: "abc", Rank: -1}, fault.Misused},
		} {
			if a, err := ask(refused.node, refused.as, refused.req); !fault.Is(err, refused.want) || a.Cert != nil {
				t.Errorf("%+v: %v, want it refused as %v", refused, err, refused.want)
			}
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		defer cancel()
		if err := c.nodes["node3"].conn.Call(ctx, bus.From("job", "node1", "certify"), certRequest{Key: attempt, Step: "abc", Request: csr}, nil); err == nil {
			t.Error("node3 may ask in node1's name")
		}
		c.asked(func(cl Client) { cl.Cancel(c.t.Context(), id) })
		c.wait(id)
		if _, err := ask("node1", "node1", certRequest{Key: attempt, Step: "abc"}); !fault.Is(err, fault.Denied) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// rankVar makes the test binary a rank of a step, see speakAsRank.
const rankVar = "BRAMBLE_TEST_RANK"

// speakAsRank has rank 0 listen and every other rank say hello to it over TLS.
func speakAsRank() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	in, err := Enter(os.Getenv)
	if err != nil {
		return err
	}
	self, err := Self(os.Getenv)
	if err != nil {
		return err
	}
	conf, err := in.TLS(ctx, self)
	if err != nil {
		return err
	}
	if self.Rank > 0 {
		address, err := in.Get(ctx, self, "address")
		if err != nil {
			return err
		}
		conn, err := tls.Dial("tcp", string(address), conf)
		if err != nil {
			return err
		}
		defer conn.Close()
		other, err := trust.RankPeer(conn.ConnectionState())
		if err != nil || other.Rank != 0 {
			return fmt.Errorf("what answers is %s, %v", other, err)
		}
		if _, err := fmt.Fprintf(conn, "hello from %s\n", os.Getenv("BRAMBLE_NODE")); err != nil {
			return err
		}
		_, err = io.ReadAll(conn)
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := in.Put(ctx, self, "address", []byte(l.Addr().String())); err != nil {
		return err
	}
	for range self.Ranks - 1 {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			return err
		}
		other, err := trust.RankPeer(conn.(*tls.Conn).ConnectionState())
		if err != nil {
			return err
		}
		fmt.Printf("rank %d of step %s says %s", other.Rank, strings.Replace(other.Step, os.Getenv("BRAMBLE_STEP"), "mine", 1), line)
		conn.Close()
	}
	return nil
}
