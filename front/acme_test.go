package front

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"bramble/fault"
	"bramble/metric"
)

// A CA issues certificates for the names that it is asked for and that are ours, and for no others; the next start needs no CA.
func TestACME(t *testing.T) {
	b := newBackend(t, "b", nil)
	plain, secure := listen(t), listen(t)
	ca := newPebble(t, plain.Addr().String(), 90*24*3600)
	ca.start()
	roots := ca.issued()
	dir := filepath.Join(t.TempDir(), "acme")
	log := told(t)
	cert, key, fileRoots := selfSigned(t, "file.example", "*.files.example")
	begin := func(files bool) *secureWeb {
		certs := &Certificates{Log: quiet}
		if files {
			var err error
			if certs, err = LoadCertificates([]string{cert}, []string{key}, quiet); err != nil {
				t.Fatal(err)
			}
		}
		// Nobody may ask twice, and everybody is sent to TLS: but for the CA.
		s := &Server{Spec: Spec{Pools: pool(b.Member).Pools, Rate: Rate{1e-9, 1}, Secure: 443},
			ACME: ca.acme(dir, log, "A.Example.", "a.example", "b.example", "file.example", "x.files.example", "x.nobody.example")}
		certs.Issued = &s.ACME.Issued
		return serveBoth(t, s, certs, plain, secure)
	}
	w := begin(true)
	for _, name := range []string{"a.example", "b.example"} {
		w.until(name+" has a certificate", func() bool { _, err := w.shake(name, roots); return err == nil })
	}
	for _, name := range []string{"file.example", "x.files.example", "c.example"} { // the last one is nobody's, so it has the first file's
		if _, err := w.shake(name, fileRoots); name == "c.example" != (err != nil) || err != nil && !isHostname(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.until("the name that is nobody's was refused", func() bool { return strings.Contains(log.text(), "x.nobody.example") })
	said := log.text()
	if !strings.Contains(said, "next_try_in=2m0s") || !strings.Contains(said, "could not resolve") {
		t.Errorf("it is not said why:\n%s", said)
	}
	if _, err := w.shake("x.nobody.example", roots); !isUnknown(err) {
		t.Errorf("a name without a certificate: %v", err)
	}
	set := &metric.Set{}
	w.s.Register(set)
	metrics := &lines{}
	if set.Write(metrics); !strings.Contains(metrics.text(), `expires_seconds{name="x.nobody.example"} 0`) || !regexp.MustCompile(`expires_seconds{name="a.example"} [1-9]`).MatchString(metrics.text()) {
		t.Errorf("the metrics are\n%s", metrics.text())
	}
	first, err := w.shake("a.example", roots)
	if err != nil {
		t.Fatal(err)
	}
	if res, _ := w.ask(get); res.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("without TLS: %s", res.Status)
	}
	if res, _ := w.ask(get); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("too often: %s", res.Status)
	}
	if strings.Contains(ca.said.text(), "c.example") {
		t.Error("the CA was asked for a name that is not ours")
	}
	for _, name := range []string{"a.example.pem", "account.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}

	w.end()
	ca.kill()
	plain, secure = listen(t), listen(t)
	w = begin(false)
	again, err := w.shake("a.example", roots)
	if err != nil || again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("after a start without the CA: %v", err)
	}
	w.until("the name without one was tried", func() bool { return strings.Contains(log.text(), "connection refused") })
	if strings.Contains(log.text(), "name=a.example error") {
		t.Errorf("a certificate that was kept was asked for:\n%s", log.text())
	}
	for _, name := range []string{"c.example", ""} {
		if _, err := w.shake(name, roots); !isUnknown(err) {
			t.Errorf("%q, with no file: %v", name, err)
		}
	}
}

func isHostname(err error) bool { _, ok := errors.AsType[x509.HostnameError](err); return ok }

func isUnknown(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "unrecognized name") || strings.Contains(err.Error(), "either ServerName or InsecureSkipVerify"))
}

// While the CA is away there is no TLS, and all else; when it is back there is TLS. It may have forgotten us.
func TestACMEAway(t *testing.T) {
	b := newBackend(t, "b", nil)
	plain, secure := listen(t), listen(t)
	ca := newPebble(t, plain.Addr().String(), 3600)
	log := told(t)
	s := &Server{Spec: pool(b.Member), ACME: ca.acme(t.TempDir(), log, "a.example")}
	w := serveBoth(t, s, &Certificates{Log: quiet, Issued: &s.ACME.Issued}, plain, secure)
	w.until("it was tried twice", func() bool { return strings.Count(log.text(), "connection refused") >= 2 })
	if res, body := w.ask(get); res.StatusCode != 200 || body != "b " {
		t.Errorf("without the CA: %s %q", res.Status, body)
	}
	if _, err := w.shake("a.example", nil); !isUnknown(err) {
		t.Errorf("without the CA: %v", err)
	}
	ca.start()
	roots := ca.issued()
	w.until("there is TLS", func() bool { _, err := w.shake("a.example", roots); return err == nil })
}

// A CA that hangs keeps nobody from ending.
func TestACMEHangs(t *testing.T) {
	b := newBackend(t, "b", nil)
	ca := listen(t)
	asked := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := ca.Accept()
			if err != nil {
				close(asked)
				return
			}
			asked <- conn
		}
	}()
	a := &ACME{Hosts: []string{"a.example", "b.example"}, Directory: "https://" + ca.Addr().String(), Shelf: folder(t.TempDir()), Log: quiet}
	if err := a.Open(); err != nil {
		t.Fatal(err)
	}
	w := serveBoth(t, &Server{Spec: pool(b.Member), ACME: a}, &Certificates{Log: quiet, Issued: &a.Issued}, listen(t), listen(t))
	conn := <-asked
	defer conn.Close()
	begun := time.Now()
	if w.end(); time.Since(begun) > a.caller.Timeout/2 {
		t.Errorf("it ended after %s", time.Since(begun))
	}
}

// A certificate is renewed when a third of its time is left, also by a CA that knows nothing of us any more.
func TestACMERenews(t *testing.T) {
	b := newBackend(t, "b", nil)
	plain, secure := listen(t), listen(t)
	ca := newPebble(t, plain.Addr().String(), 7)
	ca.start()
	roots := ca.issued()
	log := told(t)
	s := &Server{Spec: pool(b.Member), ACME: ca.acme(t.TempDir(), log, "a.example")}
	w := serveBoth(t, s, &Certificates{Log: quiet, Issued: &s.ACME.Issued}, plain, secure)
	serial := func(roots *x509.CertPool) string {
		if c, err := w.shake("a.example", roots); err == nil {
			return c.SerialNumber.String()
		}
		return ""
	}
	first := ""
	w.until("a certificate", func() bool { first = serial(roots); return first != "" })
	w.until("another one", func() bool { s := serial(roots); return s != "" && s != first })
	ca.kill()
	ca.start()
	roots = ca.issued()
	w.until("one of the new CA", func() bool { return serial(roots) != "" })
}

// The CA is answered on both ways, and only where it asks for what is there; all else is for members.
func TestProof(t *testing.T) {
	b := newBackend(t, "b", nil)
	a := &ACME{Hosts: []string{"a.example"}, Shelf: folder(t.TempDir()), Log: quiet, Directory: "https://127.0.0.1:1/dir"}
	if err := a.Open(); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	w := serveWith(t, &Server{Spec: pool(b.Member), ACME: a, Access: &AccessLog{To: log}})
	over, err := a.prove(t.Context(), challenges+"token", "token.key")
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"GET %s HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET %s HTTP/1.0\r\nHost: a.example\r\n\r\n"} {
		if res, body := w.ask(fmt.Sprintf(raw, challenges+"token")); res.StatusCode != 200 || body != "token.key" {
			t.Errorf("got %s %q", res.Status, body)
		}
		for _, path := range []string{challenges + "another", challenges, "/token"} {
			if res, body := w.ask(fmt.Sprintf(raw, path)); res.StatusCode != 200 || !strings.HasPrefix(body, "b ") {
				t.Errorf("%s: got %s %q", path, res.Status, body)
			}
		}
	}
	over()
	if _, body := w.ask("GET " + challenges + "token HTTP/1.1\r\nHost: a\r\n\r\n"); body != "b " {
		t.Errorf("after the challenge: %q", body)
	}
	w.until("all are noted", func() bool { return strings.Count(log.text(), "\n") == 9 })
}

// What was kept and cannot be used is no reason not to start.
func TestACMEFolder(t *testing.T) {
	dir := t.TempDir()
	open := func(directory string) (*ACME, *lines, error) {
		log := &lines{}
		a, err := Issuer{Hosts: []string{"a.example"}, Directory: directory}.ACMEIn(dir, newLog(log))
		return a, log, err
	}
	a, _, err := open("https://ca.example/a/../dir")
	if err != nil || filepath.Dir(string(a.Shelf.(folder))) != dir {
		t.Fatal(a.Shelf, err)
	}
	if err := a.Shelf.Write(kept("a.example"), []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	again, log, err := open("https://ca.example/a/../dir")
	if err != nil || !again.key.Equal(a.key) || !strings.Contains(log.text(), "cannot be used") {
		t.Errorf("%v, %s", err, log.text())
	}
	other, log, err := open("https://ca.example/staging")
	if err != nil || other.key.Equal(a.key) || log.text() != "" {
		t.Errorf("another CA has the same account, %v, %s", err, log.text())
	}
	if err := a.Shelf.Write(accountKey, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := open("https://ca.example/a/../dir"); !fault.Is(err, fault.Failed) || fault.Of(err).Try == "" {
		t.Errorf("an account without a key: %v", err)
	}
	for _, directory := range []string{"http://ca.example/dir", "ca.example", "https://", "https://a:b@ca.example/dir"} {
		if _, _, err := open(directory); !fault.Is(err, fault.Misused) || fault.Of(err).Try == "" {
			t.Errorf("%s: %v", directory, err)
		}
	}
}

func TestUnfit(t *testing.T) {
	for host, ok := range map[string]bool{
		"shop.example": true, "a-b.c.example": true, "xn--bcher-kva.example": true, strings.Repeat("a", 63) + ".example": true,
		"localhost": false, "": false, ".": false, "*.example.org": false, "10.0.0.1": false, "::1": false, "a..example": false, "-a.example": false, "a-.example": false,
		"bücher.example": false, "a_b.example": false, "a.example/x": false, "../x.example": false, "a.example:80": false, strings.Repeat("a", 64) + ".example": false,
		strings.Repeat("a.", 130) + "example": false,
	} {
		if why := unfit(host); ok != (why == "") {
			t.Errorf("%s: %q", host, why)
		}
	}
}

func TestRenewIn(t *testing.T) {
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cert := &tls.Certificate{Leaf: &x509.Certificate{NotBefore: begun, NotAfter: begun.Add(90 * 24 * time.Hour)}}
	short := &tls.Certificate{Leaf: &x509.Certificate{NotBefore: begun, NotAfter: begun.Add(3 * time.Minute)}}
	for _, c := range []struct {
		cert *tls.Certificate
		at   time.Duration
		want time.Duration
	}{
		{nil, 0, 0}, {cert, 0, time.Hour}, {cert, -50 * 365 * 24 * time.Hour, time.Hour}, {cert, 60*24*time.Hour - time.Minute, time.Minute},
		{cert, 60 * 24 * time.Hour, 0}, {cert, 100 * 24 * time.Hour, 0}, {short, 0, 2 * time.Minute}, {short, 2 * time.Minute, 0},
	} {
		if got := renewIn(c.cert, begun.Add(c.at)); got != c.want {
			t.Errorf("%v after its beginning: %v, want %v", c.at, got, c.want)
		}
	}
	if rest(cert) != time.Hour || rest(short) != time.Minute {
		t.Errorf("a new one rests for %v and %v", rest(cert), rest(short))
	}
}

func TestRetryIn(t *testing.T) {
	away := errors.New("connection refused")
	limited := &acme.Error{ProblemType: "urn:ietf:params:acme:error:rateLimited", Header: http.Header{"Retry-After": {"7200"}}}
	unproved := fmt.Errorf("wrapped: %w", &acme.AuthorizationError{})
	for _, c := range []struct {
		err      error
		failures int
		want     time.Duration
	}{
		{away, 1, 5 * time.Second}, {away, 2, 10 * time.Second}, {away, 6, 2 * time.Minute}, {away, 1000, 2 * time.Minute},
		{unproved, 1, 2 * time.Minute}, {unproved, 2, 4 * time.Minute}, {unproved, 6, time.Hour}, {unproved, 1000, time.Hour},
		{&acme.OrderError{}, 1, 2 * time.Minute}, {&acme.Error{}, 3, 8 * time.Minute}, {fmt.Errorf("wrapped: %w", limited), 1, 2 * time.Hour},
	} {
		if got := retryIn(c.err, c.failures, soonest); got != c.want {
			t.Errorf("%v, %d times: %v, want %v", c.err, c.failures, got, c.want)
		}
	}
	var first, tries time.Duration // of one name within an hour, as the CA counts
	for tries = 0; first < time.Hour; tries++ {
		first += retryIn(unproved, int(tries)+1, soonest)
	}
	if tries > 5 {
		t.Errorf("%d failures in an hour", tries)
	}
}
