package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"bramble/fault"
	"bramble/trust"
)

// accountKey is the name of an account's key on a shelf.
const accountKey = "account.key"

// openAccount reads the account's key, or makes one.
func (a *ACME) openAccount() error {
	text, err := a.Shelf.Read(accountKey)
	if errors.Is(err, fs.ErrNotExist) {
		return a.newAccount()
	} else if err != nil {
		return err
	}
	if block, _ := pem.Decode(text); block != nil {
		key, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
		a.key, _ = key.(*ecdsa.PrivateKey)
	}
	if a.key == nil {
		return fault.New(fault.Failed, "what is kept as %s of %s is no key of an account", accountKey, a.Directory).Hint("move %s away, and another account is made", accountKey)
	}
	return nil
}

// newAccount makes an account's key.
func (a *ACME) newAccount() (err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	text, err := keyPEM(a.key)
	if err != nil {
		return err
	}
	return a.Shelf.Write(accountKey, text)
}

// load is the certificate that was kept for a name, nil where there is none to be used.
func (a *ACME) load(host string) *tls.Certificate {
	text, err := a.Shelf.Read(kept(host))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var cert *tls.Certificate
	if err == nil {
		cert, err = parseCertificate(text, host)
	}
	if err != nil {
		a.Log.Warn("the certificate that was kept cannot be used", "name", host, "error", err)
		return nil
	}
	return cert
}

// kept is the name of a name's certificate on a shelf.
func kept(host string) string { return host + ".pem" }

// shelfName is what a directory's shelf is called: another CA's account and certificates would not do.
func shelfName(directory string) string {
	at, err := url.Parse(directory)
	if err != nil {
		return "_"
	}
	return strings.TrimLeft(strings.Map(func(c rune) rune {
		if c < 0x80 && letter(byte(c)) || c == '-' || c == '.' {
			return c
		}
		return '_'
	}, at.Host+at.Path), ".")
}

// folder is a shelf of files.
type folder string

func (f folder) Read(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Failed, "cannot read what is kept of certificates: %w", err).Hint("--acme-cache DIR that belongs to this user")
	}
	return text, err
}

func (f folder) Write(name string, text []byte) error {
	err := os.MkdirAll(string(f), 0o700)
	if err == nil {
		err = trust.WriteFile(filepath.Join(string(f), name), text)
	}
	if err != nil {
		return fault.New(fault.Failed, "cannot keep certificates: %w", err).Hint("--acme-cache DIR that can be written")
	}
	return nil
}
