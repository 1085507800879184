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

// openFolder makes a folder for this CA, for another one's certificates would not do, and reads the account's key or makes one.
func (a *ACME) openFolder(directory *url.URL) error {
	name := strings.Map(func(c rune) rune {
		if c < 0x80 && letter(byte(c)) || c == '-' || c == '.' {
			return c
		}
		return '_'
	}, directory.Host+directory.Path)
	a.Folder = filepath.Join(a.Folder, strings.TrimLeft(name, "."))
	if err := os.MkdirAll(a.Folder, 0o700); err != nil {
		return fault.New(fault.Failed, "cannot keep certificates: %w", err).Hint("--acme-cache DIR that can be written")
	}
	path := filepath.Join(a.Folder, "account.key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a.newAccount(path)
	} else if err != nil {
		return fault.New(fault.Failed, "cannot read the account's key: %w", err).Hint("--acme-cache DIR that belongs to this user")
	}
	if block, _ := pem.Decode(text); block != nil {
		key, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
		a.key, _ = key.(*ecdsa.PrivateKey)
	}
	if a.key == nil {
		return fault.New(fault.Failed, "%s is no key of an account", path).Hint("move it away, and another account is made")
	}
	return nil
}

// newAccount makes an account's key.
func (a *ACME) newAccount(path string) (err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	text, err := keyPEM(a.key)
	if err == nil {
		err = trust.WriteFile(path, text)
	}
	if err != nil {
		return fault.New(fault.Failed, "cannot keep the account's key: %w", err).Hint("--acme-cache DIR that can be written")
	}
	return nil
}

// load is the certificate that was kept for a name, nil where there is none to be used.
func (a *ACME) load(host string) *tls.Certificate {
	text, err := os.ReadFile(a.file(host))
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

func (a *ACME) save(host string, text []byte) error { return trust.WriteFile(a.file(host), text) }

func (a *ACME) file(host string) string { return filepath.Join(a.Folder, host+".pem") }
