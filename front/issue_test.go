package front

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"bramble/bus/bustest"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// certifying is a front with a name, on nodes that a CA may ask in turn.
type certifying struct {
	*world
	ca     *pebble
	front  Front
	nodes  map[string]string // addresses
	asks   *bustest.Bus      // the viewer's
	viewer Client
}

func newCertifying(t *testing.T) *certifying {
	c := &certifying{world: newWorld(t), nodes: map[string]string{"one": "127.0.0.1", "two": "127.0.0.2"}}
	c.hosts = c.nodes
	c.set(func() {
		for _, name := range []string{"one", "two", "three"} {
			c.world.nodes = append(c.world.nodes, fleet.Node{Name: name, State: fleet.Up, Address: c.nodes[name]})
		}
	})
	port := func() string { _, port, _ := net.SplitHostPort(freePort(t)); return ":" + port }
	b := newBackend(t, "b", nil)
	c.front = Front{Name: "front", On: "one,two", Doors: Doors{Plain: []string{port()}, TLS: []string{port()}},
		Servers: []Backend{{Member: Member{Name: "b"}, Server: b.Address.String()}}, Common: Pool{Check: Check{Interval: -1}}}
	c.ca = newPebble(t, "127.0.0.1"+c.front.Doors.Plain[0], 90*24*3600, "127.0.0.1", "127.0.0.2")
	own, err := os.ReadFile(c.ca.cert)
	if err != nil {
		t.Fatal(err)
	}
	c.front.Doors.ACME = &Issuer{Hosts: []string{"A.example"}, Directory: "https://" + c.ca.at + "/dir", Roots: string(own), Binding: eab}
	return c
}

func (c *certifying) up() {
	c.t.Helper()
	if _, err := c.client().Up(c.t.Context(), c.front); err != nil {
		c.t.Fatal(err)
	}
}

// serial is that of the certificate that a node shows for the name, "" without one.
func (c *certifying) serial(node string, roots *x509.CertPool) string {
	w := &secureWeb{web: &web{t: c.t}, secure: c.nodes[node] + c.front.Doors.TLS[0]}
	cert, err := w.shake("a.example", roots)
	if err != nil {
		return ""
	}
	return cert.SerialNumber.String()
}

// both waits until both nodes show the same certificate, and returns its serial number.
func (c *certifying) both(roots *x509.CertPool) (serial string) {
	c.t.Helper()
	eventually(c.t, "both nodes have the certificate", func() bool {
		serial = c.serial("one", roots)
		return serial != "" && c.serial("two", roots) == serial
	})
	return serial
}

func (c *certifying) status() Certified {
	c.t.Helper()
	if c.asks != c.bus { // of another head
		c.asks, c.viewer = c.bus, Client{c.bus.Client("eve", trust.Viewer)}
	}
	all, err := c.viewer.Status(c.t.Context(), "front")
	for fault.Is(err, fault.Unreachable) {
		all, err = c.viewer.Status(c.t.Context(), "front")
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if text, _ := json.Marshal(all); strings.Contains(string(text), "PRIVATE KEY") || strings.Contains(string(text), eab.Key) {
		c.t.Error("a viewer is told the key")
	}
	if len(all[0].Certified) == 0 {
		return Certified{}
	}
	return all[0].Certified[0]
}

// A front on several nodes has one certificate, whichever of them the CA asks; the CA is told to ask when all of them answer, and a
// head that begins again does not ask for another one.
func TestCertifiedOnNodes(t *testing.T) {
	c := newCertifying(t)
	c.ca.start()
	roots := c.ca.issued()
	c.startNode("one")
	c.startNode("three")
	c.up()
	orders := func(node string) string {
		text, _ := os.ReadFile(c.dir + "/" + node + "/orders.json")
		return string(text)
	}
	eventually(t, "the first node would answer the CA", func() bool { return strings.Contains(orders("one"), challenges) })
	if text := c.ca.said.text(); strings.Contains(text, "validat") {
		t.Errorf("the CA was told to ask before the second one would:\n%s", text)
	}
	c.startNode("two")
	first := c.both(roots)
	eventually(t, "what the CA asked for is forgotten", func() bool { return !strings.Contains(orders("one")+orders("two"), challenges) })
	if text := orders("three"); strings.Contains(text, "KEY") {
		t.Error("a node that does not carry the front has its key")
	}
	if st := c.status(); st.Name != "a.example" || st.Until.IsZero() || st.Why != "" {
		t.Errorf("it stands so: %+v", st)
	}
	if text := c.eventTexts(); !strings.Contains(text, "a certificate for a.example of the front front was issued") {
		t.Errorf("the events have\n%s", text)
	}

	c.end()
	c.ca.kill()
	c.startHead()
	for _, name := range []string{"one", "two"} {
		c.startNode(name)
	}
	eventually(t, "the next head knows of it", func() bool { return !c.status().Until.IsZero() })
	if again := c.both(roots); again != first {
		t.Error("it is another certificate")
	}
	if st := c.status(); st.Why != "" {
		t.Errorf("the CA was asked again: %+v", st)
	}
}

// A head that ends while it asks, again and again, asks no more often than one that is refused; who puts the front up again is heard.
func TestCertifyingEnds(t *testing.T) {
	c := newCertifying(t)
	hanging := listen(t)
	asked := make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := hanging.Accept()
			if err != nil {
				return
			}
			asked <- conn
		}
	}()
	c.front.Doors.ACME.Directory = "https://" + hanging.Addr().String()
	c.startNode("one")
	c.startNode("two")
	c.up()
	defer (<-asked).Close()
	for range 3 {
		c.end()
		c.startHead()
		eventually(t, "the next head knows of the attempt", func() bool { return c.status().Why == underWay })
	}
	if next := time.Until(c.status().Next); next < patient/2 || next > patient {
		t.Errorf("the next attempt comes in %s", next)
	}
	if len(asked) > 0 {
		t.Errorf("the CA was asked %d times more", len(asked))
	}
	c.up()
	defer (<-asked).Close()
	c.end() // before the CA's listener
}

// A trial's next attempt comes as late as if the CA had refused it.
func TestAttempts(t *testing.T) {
	now := time.Unix(1e9, 0)
	var none trial
	if none.pause(now) != 0 {
		t.Error("the first attempt waits")
	}
	var tt trial
	for i, want := range []time.Duration{patient, 2 * patient, 4 * patient, 8 * patient, 16 * patient, longest, longest} {
		if tt = tt.next(now); tt.pause(now) != want || tt.Failures != i+1 || tt.pause(now.Add(2*longest)) != 0 {
			t.Errorf("after %d: %s, %+v", i+1, tt.pause(now), tt)
		}
	}
	if got := tt.pause(time.Unix(0, 0)); got != 24*time.Hour {
		t.Errorf("by a clock that lost its time: %s", got)
	}
}

// What no CA would certify is refused before anything is written down.
func TestCertifyingMisused(t *testing.T) {
	c := newCertifying(t)
	for _, bad := range []Issuer{{Hosts: []string{"*.example"}}, {Hosts: []string{"a.example"}, Directory: "http://ca.example"}, {Hosts: []string{"a.example"}, Roots: "nonsense"},
		{Hosts: []string{"a.example"}, Binding: Binding{KID: "kid"}}, {Hosts: []string{"a.example"}, Binding: Binding{KID: "kid", Key: "%"}}, {Hosts: []string{"a.example"}, Binding: Binding{Key: "aaaa"}}} {
		c.front.Doors.ACME = &bad
		if _, err := c.client().Up(context.Background(), c.front); !fault.Is(err, fault.Misused) || fault.Of(err).Try == "" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestCertifiedWord(t *testing.T) {
	now := time.Unix(1e9, 0)
	before, later := now.Add(-time.Second), now.Add(time.Second)
	for want, all := range map[string][]Certified{
		"asked for":     {{}, {Why: underWay, Next: later}},
		"not certified": {{Why: "no", Next: later}},
		"certified":     {{Until: later}, {Until: later, Why: underWay}},
		"not renewed":   {{Until: later, Why: "no"}},
		"run out":       {{Until: before}, {Until: now, Why: underWay}, {Until: before, Why: "no"}},
	} {
		for _, c := range all {
			if got := c.Word(now); got != want {
				t.Errorf("%+v: %s, not %s", c, got, want)
			}
		}
	}
}
