package front

import (
	"crypto/tls"
	"errors"
	"maps"
	"sync"

	"bramble/metric"
)

// Issued are the names of which a CA certifies that they are ours, with what it has issued and what it finds when it looks at one
// (RFC 8555, 8.3). Nil is none.
type Issued struct {
	mu     sync.RWMutex
	certs  map[string]*tls.Certificate // by name; nil until it has one
	proofs map[string]string           // what to answer the CA, by path
}

// certificate is a name's; ok is whether the name is one of ours. A certificate that could not be renewed is better than none.
func (i *Issued) certificate(host string) (cert *tls.Certificate, ok bool) {
	if i == nil {
		return nil, false
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	cert, ok = i.certs[host]
	return cert, ok
}

// proof is what the CA wants to find at a path, if it is what asks. Members may have an ACME of their own at other such paths.
func (i *Issued) proof(path []byte) (text string, ok bool) {
	if i == nil || !startsWith(path, challenges) {
		return "", false
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	text, ok = i.proofs[string(path)]
	return text, ok
}

// challenges is where a CA asks.
const challenges = "/.well-known/acme-challenge/"

func startsWith(path []byte, prefix string) bool {
	return len(path) >= len(prefix) && string(path[:len(prefix)]) == prefix
}

// set takes up what the head has got issued: keys and certificates in PEM, by name, and what the CA is to find.
func (i *Issued) set(texts, proofs map[string]string) error {
	certs := map[string]*tls.Certificate{}
	var broken []error
	for host, text := range texts {
		if certs[host] = nil; text != "" {
			var err error
			certs[host], err = parseCertificate([]byte(text), host)
			broken = append(broken, err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.certs, i.proofs = certs, proofs
	return errors.Join(broken...)
}

// texts is what set takes.
func (i *Issued) texts() (texts, proofs map[string]string, err error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	texts = map[string]string{}
	for host, cert := range i.certs {
		text, failed := encoded(cert)
		texts[host], err = string(text), errors.Join(err, failed)
	}
	return texts, maps.Clone(i.proofs), err
}

// register adds when certificates end.
func (i *Issued) register(set *metric.Set) {
	set.Collect("bramble_front_certificate_expires_seconds", "When a name's certificate by ACME ends, as a Unix time; 0: it has none.", "gauge", func(emit metric.Emit) {
		i.mu.RLock()
		defer i.mu.RUnlock()
		for host, cert := range i.certs {
			ends := 0.0
			if cert != nil {
				ends = float64(cert.Leaf.NotAfter.Unix())
			}
			emit(ends, "name", host)
		}
	})
}
