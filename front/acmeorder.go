package front

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/acme"
)

// obtain has the CA issue a certificate, and keeps it.
func (a *ACME) obtain(ctx context.Context, host string) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	client, err := a.client(ctx)
	if err != nil {
		return nil, fmt.Errorf("the account with %s: %w", a.Directory, err)
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(host))
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	for _, u := range order.AuthzURLs {
		if err := a.authorize(ctx, client, u); err != nil {
			return nil, err
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("wait for the order: %w", err)
	}
	text, err := certify(ctx, client, order, host)
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate(text, host)
	if err != nil {
		return nil, fmt.Errorf("the CA's certificate: %w", err)
	}
	if err := a.Shelf.Write(kept(host), text); err != nil { // it is good for as long as we run
		a.Log.Error("a certificate cannot be kept, and is asked for again after the next start", "name", host, "error", err)
	}
	return cert, nil
}

// client is of our account, which is made where there is none.
func (a *ACME) client(ctx context.Context) (*acme.Client, error) {
	client := &acme.Client{Key: a.key, DirectoryURL: a.Directory, HTTPClient: a.caller, UserAgent: "bramble", RetryBackoff: backoff}
	account := &acme.Account{ExternalAccountBinding: a.Binding}
	if a.Email != "" {
		account.Contact = []string{"mailto:" + a.Email}
	}
	a.enter.Lock()
	defer a.enter.Unlock()
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, err
	}
	return client, nil
}

// backoff is how long a request waits that the CA asks to repeat; 0 gives up, and all of it is tried again much later.
func backoff(n int, _ *http.Request, res *http.Response) time.Duration {
	if n > 5 || res.StatusCode == http.StatusTooManyRequests {
		return 0
	}
	return time.Duration(n*n) * 100 * time.Millisecond
}

// authorize shows the CA that a name is ours.
func (a *ACME) authorize(ctx context.Context, client *acme.Client, at string) error {
	z, err := client.GetAuthorization(ctx, at)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	if z.Status == acme.StatusValid { // since another time
		return nil
	}
	i := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == "http-01" })
	if i < 0 {
		return fmt.Errorf("the CA does not offer HTTP-01 for %s", z.Identifier.Value)
	}
	challenge := z.Challenges[i]
	text, err := client.HTTP01ChallengeResponse(challenge.Token)
	if err != nil {
		return err
	}
	over, err := a.prove(ctx, client.HTTP01ChallengePath(challenge.Token), text)
	defer over()
	if err != nil {
		return err
	}
	if _, err := client.Accept(ctx, challenge); err != nil {
		return fmt.Errorf("challenge: %w", err)
	}
	_, err = client.WaitAuthorization(ctx, at)
	return err
}

// certify makes a key and has it certified; it returns both as PEM.
func certify(ctx context.Context, client *acme.Client, order *acme.Order, host string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{host}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return encoded(&tls.Certificate{Certificate: chain, PrivateKey: key})
}

// encoded is a key and its chain, as parseCertificate reads them; nil for none.
func encoded(cert *tls.Certificate) ([]byte, error) {
	if cert == nil {
		return nil, nil
	}
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a certificate's key is a %T", cert.PrivateKey)
	}
	text, err := keyPEM(key)
	for _, der := range cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text, err
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// parseCertificate reads a key and its chain, which must be for the name.
func parseCertificate(text []byte, host string) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, err
		}
	}
	return &cert, cert.Leaf.VerifyHostname(host)
}
