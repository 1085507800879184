package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tool is a program of tools/go.mod, built.
func tool(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("go", "-C", "../tools", "tool", "-n", name)
	out, err := cmd.Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			out = e.Stderr
		}
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return strings.TrimSpace(string(out))
}

// start starts a program that ends with the test. Each of its lines goes to tell.
func start(t *testing.T, cmd *exec.Cmd, tell func(string)) (kill func()) {
	t.Helper()
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = w, w, patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			tell(lines.Text())
		}
	})
	var once sync.Once
	kill = func() {
		once.Do(func() {
			cmd.Process.Kill()
			cmd.Wait()
			w.Close()
			reading.Wait()
		})
	}
	t.Cleanup(kill)
	return kill
}

// freePort is a port of TCP at which nobody listens, for a program that cannot choose one itself.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// selfSigned is a certificate for names and 127.0.0.1, in two files.
func selfSigned(t *testing.T, names ...string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyPEM(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key, pool = filepath.Join(dir, "crt"), filepath.Join(dir, "key"), x509.NewCertPool()
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool.AppendCertsFromPEM(chain)
	for name, text := range map[string][]byte{cert: chain, key: text} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, pool
}

// eab is an account that a pebble whose names are at several addresses asks for.
var eab = Binding{KID: "kid-1", Key: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}

// pebble is Let's Encrypt's CA for tests.
type pebble struct {
	t       *testing.T
	program string
	at      string // of the directory
	manage  string
	roots   *x509.CertPool // who has certified the CA's own address
	cert    string         // the file of that
	config  string
	dns     string
	kill    func()
	said    *lines
}

// newPebble is one that is not started, which asks for files at a port, in turn at addresses where some are given, and whose
// certificates are good for so many seconds.
func newPebble(t *testing.T, askAt string, seconds int, addresses ...string) *pebble {
	t.Helper()
	p := &pebble{t: t, program: tool(t, "pebble"), at: freePort(t), manage: freePort(t), dns: nameServer(t, addresses...), said: told(t)}
	cert, key, pool := selfSigned(t, "localhost")
	p.roots, p.cert = pool, cert
	profile := map[string]any{"default": map[string]any{"description": "all", "validityPeriod": seconds}}
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{"listenAddress": p.at, "managementListenAddress": p.manage, "certificate": cert, "privateKey": key,
		"httpPort": netip.MustParseAddrPort(askAt).Port(), "tlsPort": 1, "keyAlgorithm": "ecdsa", "profiles": profile,
		"externalAccountMACKeys": map[string]string{eab.KID: eab.Key}, "externalAccountBindingRequired": addresses != nil,
		"retryAfter": map[string]int{"authz": 1, "order": 1}}})
	if err != nil {
		t.Fatal(err)
	}
	p.config = filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(p.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// start starts it anew: it knows nobody and has another root.
func (p *pebble) start() {
	p.t.Helper()
	cmd := exec.Command(p.program, "-config", p.config, "-strict", "-dnsserver", p.dns)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20")
	p.kill = start(p.t, cmd, p.said.add)
}

// issued is by whom its certificates are signed in the end.
func (p *pebble) issued() *x509.CertPool {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}}, Timeout: patience}
	defer client.CloseIdleConnections()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		res, err := client.Get("https://" + p.manage + "/roots/0")
		if err != nil {
			if time.Since(begun) > patience {
				p.t.Fatalf("pebble: %v\n%s", err, p.said.text())
			}
			continue
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			p.t.Fatalf("a root: %q", text)
		}
		return pool
	}
}

// acme is what asks it for certificates of names.
func (p *pebble) acme(dir string, log *lines, hosts ...string) *ACME {
	a := &ACME{Hosts: hosts, Email: "me@a.example", Directory: "https://" + p.at + "/dir", Roots: p.roots, Shelf: folder(dir),
		Log: newLog(log), soon: 20 * time.Millisecond}
	if err := a.Open(); err != nil {
		p.t.Fatal(err)
	}
	return a
}

// nameServer is the address of a DNS server, over TCP, to which all names are here, or in turn at some addresses, but for those below
// nobody.example.
func nameServer(t *testing.T, addresses ...string) string {
	t.Helper()
	var turn atomic.Int64
	next := func() [4]byte {
		if len(addresses) == 0 {
			return [4]byte{127, 0, 0, 1}
		}
		return netip.MustParseAddr(addresses[int(turn.Add(1))%len(addresses)]).As4()
	}
	l := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(t.Context(), func() { conn.Close() })()
				answerNames(conn, next)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

// answerNames answers questions, each behind its length.
func answerNames(conn net.Conn, next func() [4]byte) {
	for {
		var size uint16
		if binary.Read(conn, binary.BigEndian, &size) != nil {
			return
		}
		asked := make([]byte, size)
		if _, err := io.ReadFull(conn, asked); err != nil {
			return
		}
		answer := named4(asked, next)
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

// named4 answers a question of DNS by the next address: RFC 1035, 4.1.
func named4(asked []byte, next func() [4]byte) []byte {
	if len(asked) < 12 {
		return nil
	}
	end := bytes.IndexByte(asked[12:], 0) + 12 + 1 + 4 // the name, its type and class
	if end > len(asked) {
		return nil
	}
	answer := append([]byte{asked[0], asked[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, asked[12:end]...)
	switch isA := asked[end-3] == 1; {
	case bytes.Contains(bytes.ToLower(asked[12:end]), []byte("\x06nobody\x07example\x00")):
		answer[3] |= 3 // there is no such name
	case isA:
		answer[7] = 1
		at := next()
		answer = append(append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4), at[:]...)
	}
	return answer
}

// lines are what somebody said.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

// told are lines that are shown when the test fails.
func told(t *testing.T) *lines {
	l := &lines{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.text())
		}
	})
	return l
}

func (l *lines) add(line string) { l.Write([]byte(line + "\n")) }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func newLog(to *lines) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// secureWeb is a front with a port without TLS and one with it.
type secureWeb struct {
	*web
	secure string
	end    func()
}

// serveBoth starts a front on listeners that are there.
func serveBoth(t *testing.T, s *Server, certs *Certificates, plain, secure net.Listener) *secureWeb {
	t.Helper()
	s.Loops, s.Log = 1, quiet
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, plain, tls.NewListener(secure, certs.Config())) }()
	w := &secureWeb{web: &web{t: t, s: s, addr: plain.Addr().String()}, secure: secure.Addr().String()}
	w.until("the front is there", func() bool { return s.now.Load() != nil })
	w.end = sync.OnceFunc(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(w.end)
	return w
}

// shake visits a name over TLS, and returns the certificate that it is shown.
func (w *secureWeb) shake(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	w.t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.secure, &tls.Config{ServerName: name, RootCAs: roots})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
