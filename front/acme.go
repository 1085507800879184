package front

import (
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
	Hosts     []string                     // exact names; nobody asks for others
	Email     string                       // where the CA may write to; "": nowhere
	Directory string                       // the CA's address; "": Let's Encrypt
	Roots     *x509.CertPool               // by whom that address is certified; nil: by whom this system trusts
	Binding   *acme.ExternalAccountBinding // to an account that the CA knows already; nil: none
	Shelf     Shelf                        // where the account's key and the certificates are kept
	Log       *slog.Logger
	Issued

	told   func(host string, t trial)                   // after each attempt, and before; nil: nobody wants to know
	trials map[string]trial                             // by name, of the process before
	spread func(ctx context.Context, path string) error // returns when a proof is found wherever the CA may ask; nil: it is at once
	soon   time.Duration                                // until a CA that did not answer is asked again, at first; 0: soonest
	key    *ecdsa.PrivateKey
	caller *http.Client
	enter  sync.Mutex // one asks for the account at a time
}

// Shelf keeps an account's key and certificates with their keys, by names that may be those of files.
type Shelf interface {
	Read(name string) ([]byte, error) // fs.ErrNotExist: there is none
	Write(name string, text []byte) error
}

// Open reads what is on the shelf. Errors are faults.
func (a *ACME) Open() error {
	if err := a.settle(); err != nil {
		return err
	}
	if err := a.openAccount(); err != nil {
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

// settle finds out what is wanted, and reports as fault.Misused what is wrong with that.
func (a *ACME) settle() error {
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
	last := a.trials[host]
	for pause := last.pause(time.Now()); wait(ctx, pause); {
		cert, _ := a.certificate(host)
		if pause = renewIn(cert, time.Now()); pause > 0 {
			continue
		}
		last = last.next(time.Now())
		a.tell(host, last) // whoever is killed meanwhile has asked
		cert, err := a.obtain(ctx, host)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = retryIn(err, last.Failures, cmp.Or(a.soon, soonest))
			last.Next, last.Why = time.Now().Add(pause), err.Error()
			a.Log.Error("no certificate was issued", "name", host, "error", err, "next_try_in", pause)
		default:
			a.put(host, cert)
			pause, last = rest(cert), trial{}
			a.Log.Info("a certificate was issued", "name", host, "by", cert.Leaf.Issuer.CommonName, "until", cert.Leaf.NotAfter)
		}
		a.tell(host, last)
	}
}

func (a *ACME) put(host string, cert *tls.Certificate) {
	a.Issued.mu.Lock()
	defer a.Issued.mu.Unlock()
	a.certs[host] = cert
}

func (a *ACME) tell(host string, t trial) {
	if a.told != nil {
		a.told(host, t)
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

// prove has text found at a path, everywhere, until over is called.
func (a *ACME) prove(ctx context.Context, path, text string) (over func(), err error) {
	set := func(change func()) {
		a.Issued.mu.Lock()
		defer a.Issued.mu.Unlock()
		change()
	}
	set(func() { a.proofs[path] = text })
	over = func() { set(func() { delete(a.proofs, path) }) }
	if a.spread == nil {
		return over, nil
	}
	return over, a.spread(ctx, path)
}
