package front

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"bramble/fault"
)

// ACME gets certificates from a CA that speaks RFC 8555, and new ones before they end. The CA makes sure that a name is ours by
// asking for a file at its port 80 (HTTP-01). To use it is to agree to the CA's terms of service.
//
// It uses the client of x/crypto/acme, not its autocert: that waits for the CA within handshakes, and keeps for itself why a CA
// said no and that a renewal failed.
type ACME struct {
	Hosts     []string       // exact names; nobody asks for others
	Email     string         // where the CA may write to; "": nowhere
	Directory string         // the CA's address; "": Let's Encrypt
	Roots     *x509.CertPool // by whom that address is certified; nil: by whom this system trusts
	Folder    string         // where the account's key and the certificates are kept
	Log       *slog.Logger

	soon   time.Duration // until a CA that did not answer is asked again, at first; 0: soonest
	key    *ecdsa.PrivateKey
	caller *http.Client
	enter  sync.Mutex // one asks for the account at a time

	mu     sync.RWMutex
	certs  map[string]*tls.Certificate // by each of Hosts; nil until it has one
	proofs map[string]string           // what to answer the CA, by path
}

// Open makes the folder, and reads what is in it. Errors are faults.
func (a *ACME) Open() error {
	a.Directory = cmp.Or(a.Directory, acme.LetsEncryptURL)
	at, err := url.Parse(a.Directory)
	if err != nil || at.Scheme != "https" || at.Host == "" || at.User != nil {
		return fault.New(fault.Misused, "%s is no address of an ACME directory", a.Directory).Hint("--acme-directory %s", acme.LetsEncryptURL)
	}
	a.certs, a.proofs = map[string]*tls.Certificate{}, map[string]string{}
	for _, text := range a.Hosts {
		host := strings.ToLower(strings.TrimSuffix(text, "."))
		if why := unfit(host); why != "" {
			return fault.New(fault.Misused, "there are no certificates by ACME for %q: %s", text, why).Hint("--acme-host shop.example")
		}
		a.certs[host] = nil
	}
	a.Hosts = slices.Sorted(maps.Keys(a.certs))
	if err := a.openFolder(at); err != nil {
		return err
	}
	for _, host := range a.Hosts {
		a.certs[host] = a.load(host)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: a.Roots}
	a.caller = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return nil
}

// run sees to each name's certificate until ctx ends.
func (a *ACME) run(ctx context.Context) {
	defer a.caller.CloseIdleConnections()
	var names sync.WaitGroup
	for _, host := range a.Hosts {
		names.Go(func() { a.keep(ctx, host) })
	}
	names.Wait()
}

// keep sees to one certificate, whatever becomes of others.
func (a *ACME) keep(ctx context.Context, host string) {
	pause, failures := time.Duration(0), 0
	for wait(ctx, pause) {
		cert, _ := a.certificate(host)
		if pause = renewIn(cert, time.Now()); pause > 0 {
			continue
		}
		cert, err := a.obtain(ctx, host)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			pause = retryIn(err, failures, cmp.Or(a.soon, soonest))
			a.Log.Error("no certificate was issued", "name", host, "error", err, "next_try_in", pause)
			continue
		}
		a.mu.Lock()
		a.certs[host] = cert
		a.mu.Unlock()
		pause, failures = rest(cert), 0
		a.Log.Info("a certificate was issued", "name", host, "by", cert.Leaf.Issuer.CommonName, "until", cert.Leaf.NotAfter)
	}
}

// wait waits; false is the end.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// certificate is a name's; ok is whether the name is one of ours. A certificate that could not be renewed is better than none.
func (a *ACME) certificate(host string) (cert *tls.Certificate, ok bool) {
	if a == nil {
		return nil, false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	cert, ok = a.certs[host]
	return cert, ok
}

// challenges is where a CA asks: RFC 8555, 8.3.
const challenges = "/.well-known/acme-challenge/"

// proof is what the CA wants to find at a path, if it is what asks. Members may have an ACME of their own at other such paths.
func (a *ACME) proof(path []byte) (text string, ok bool) {
	if a == nil || !bytes.HasPrefix(path, []byte(challenges)) {
		return "", false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	text, ok = a.proofs[string(path)]
	return text, ok
}

// prove has text found at a path, until the returned function is called.
func (a *ACME) prove(path, text string) (over func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.proofs[path] = text
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.proofs, path)
	}
}
