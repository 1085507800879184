package front

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"bramble/fault"
)

// Certificates are pairs of files, read again when they change. The first is for visitors that name no host, or an unknown one.
type Certificates struct {
	Log    *slog.Logger
	Issued *Issued // certificates of names that no file is for; nil: none

	mu    sync.Mutex
	pairs []*pair
	names map[string]*tls.Certificate
	seen  time.Time
}

// pair is a certificate's two files as they were read last.
type pair struct {
	cert, key string
	times     [2]time.Time
	sizes     [2]int64
	loaded    *tls.Certificate
}

// looksEvery is how long files are trusted not to have changed.
const looksEvery = time.Second

// LoadCertificates reads pairs of files in PEM: certificate chains and their keys.
func LoadCertificates(certs, keys []string, log *slog.Logger) (*Certificates, error) {
	if err := asMany(certs, keys); err != nil {
		return nil, err
	}
	c := &Certificates{Log: log, seen: time.Now()}
	for i := range certs {
		p := &pair{cert: certs[i], key: keys[i]}
		if err := p.load(); err != nil {
			return nil, err
		}
		c.pairs = append(c.pairs, p)
	}
	c.index()
	return c, nil
}

// load reads the files.
func (p *pair) load() error {
	for i, file := range []string{p.cert, p.key} {
		if info, err := os.Stat(file); err == nil { // else reading it says why
			p.times[i], p.sizes[i] = info.ModTime(), info.Size()
		}
	}
	text, err := readPair(p.cert, p.key)
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair([]byte(text.Cert), []byte(text.Key))
	if err != nil {
		return fault.New(fault.Misused, "%s and %s are no certificate with its key: %s", p.cert, p.key, strings.TrimPrefix(err.Error(), "tls: ")).
			Hint("--cert FILE and --key FILE, both in PEM")
	}
	p.loaded = &cert
	return nil
}

// LoadPairs reads files in PEM: certificate chains and their keys.
func LoadPairs(certs, keys []string) (all []Pair, err error) {
	if err := asMany(certs, keys); err != nil {
		return nil, err
	}
	for i := range certs {
		p, err := readPair(certs[i], keys[i])
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func asMany(certs, keys []string) error {
	if len(certs) != len(keys) {
		return fault.New(fault.Misused, "there are %d of --cert and %d of --key", len(certs), len(keys)).Hint("--cert site.crt --key site.key for each")
	}
	return nil
}

// readPair reads the files of a certificate chain and its key.
func readPair(cert, key string) (p Pair, err error) {
	if p.Cert, err = ReadFile(cert, "--cert FILE --key FILE"); err == nil {
		p.Key, err = ReadFile(key, "--cert FILE --key FILE")
	}
	return p, err
}

// ReadFile reads a file that a flag names; try is what to do where there is none.
func ReadFile(file, try string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fault.New(fault.NotFound, "there is no file %s", file).Hint("%s", try)
	} else if err != nil {
		return "", fault.New(fault.Failed, "cannot read %s: %w", file, err)
	}
	return string(text), nil
}

// parse reads the pair.
func (p Pair) parse() (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair([]byte(p.Cert), []byte(p.Key))
	if err != nil {
		return nil, fault.New(fault.Misused, "this is no certificate with its key: %s", strings.TrimPrefix(err.Error(), "tls: ")).
			Hint("--cert FILE and --key FILE, both in PEM")
	}
	return &cert, nil
}

// NewCertificates is of pairs that are at hand.
func NewCertificates(pairs []Pair, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{Log: log}
	for _, p := range pairs {
		cert, err := p.parse()
		if err != nil {
			return nil, err
		}
		c.pairs = append(c.pairs, &pair{loaded: cert})
	}
	c.index()
	return c, nil
}

// changed reports whether a file is not what it was.
func (p *pair) changed() bool {
	if p.cert == "" {
		return false
	}
	for i, file := range []string{p.cert, p.key} {
		info, err := os.Stat(file)
		if err == nil && (!info.ModTime().Equal(p.times[i]) || info.Size() != p.sizes[i]) {
			return true
		}
	}
	return false
}

// index notes which names each certificate is for; the lock is held, or nobody knows c yet.
func (c *Certificates) index() {
	c.names = map[string]*tls.Certificate{}
	for _, p := range c.pairs {
		for _, name := range p.loaded.Leaf.DNSNames {
			if name = strings.ToLower(name); c.names[name] == nil {
				c.names[name] = p.loaded
			}
		}
	}
}

// Get is tls.Config's GetCertificate.
func (c *Certificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.seen) >= looksEvery {
		c.seen = now
		c.refresh()
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if cert := c.names[name]; cert != nil {
		return cert, nil
	}
	if _, rest, ok := strings.Cut(name, "."); ok && c.names["*."+rest] != nil {
		return c.names["*."+rest], nil
	}
	if cert, ours := c.Issued.certificate(name); ours || len(c.pairs) == 0 {
		return cert, nil // none is a refusal, which tells the visitor that the name is not known
	}
	return c.pairs[0].loaded, nil
}

// refresh reads what has changed; what cannot be read is served on as it was.
func (c *Certificates) refresh() {
	any := false
	for _, p := range c.pairs {
		if !p.changed() {
			continue
		}
		if err := p.load(); err != nil {
			c.Log.Error("a certificate was changed and cannot be used; the one before is served on", "error", err)
			continue
		}
		any = true
		c.Log.Info("a certificate was read again", "file", p.cert, "until", p.loaded.Leaf.NotAfter)
	}
	if any {
		c.index()
	}
}

// Config is for TLS with visitors, over which they may speak HTTP/2.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{GetCertificate: c.Get, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
}
