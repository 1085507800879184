package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"

	"bramble/fault"
)

// Redeem gives a certificate (PEM) for a token and a certificate request. A node says the
// name it wants; with a client token, whose user is settled, name is that user or empty.
//
// fault.Denied: the token is wrong, foreign, revoked, expired or used up. fault.Conflict:
// another machine holds the name; the same key may have its name again. fault.Misused: the
// name or the request is not valid. Asking again with the same key and name is no second use.
func (a *Authority) Redeem(ctx context.Context, token Token, csr []byte, name string) ([]byte, Identity, error) {
	key, hash, err := requested(csr)
	if err != nil {
		return nil, Identity{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := a.token(ctx, token)
	if err != nil {
		return nil, Identity{}, err
	}
	id, err := a.wanted(info, hash, name)
	if err != nil {
		return nil, Identity{}, err
	}
	giveBack := func() {}
	if !a.books.redeemed(info.ID, id, hash) {
		if giveBack, err = a.spend(ctx, info); err != nil {
			return nil, Identity{}, err
		}
	}
	cert, id, err := a.issue(ctx, id, key, nil, info.ID)
	if err != nil {
		giveBack()
	}
	return cert, id, err
}

// wanted is the identity that a token's holder may have.
func (a *Authority) wanted(info TokenInfo, key, name string) (Identity, error) {
	if info.Kind == KindClient {
		if name != "" && name != info.User {
			return Identity{}, fault.New(fault.Misused, "the token signs in the client %s and joins no node", info.User).
				Hint("make one for nodes on the head: bramble token create")
		}
		return Identity{Kind: KindClient, Name: info.User, Role: info.Role}, nil
	}
	if err := ValidName(name); err != nil {
		return Identity{}, err
	}
	return Identity{Kind: KindNode, Name: name}, a.books.claim(name, key, KindHead, KindNode)
}

// Issue gives a certificate without a token, for whom the head or an admin answers: a
// client's file, or the node on the head's own machine, which may have the head's name.
func (a *Authority) Issue(ctx context.Context, id Identity, csr []byte) ([]byte, Identity, error) {
	if id.Kind == KindHead {
		return nil, Identity{}, fault.New(fault.Misused, "a head's certificate is made on the head alone")
	}
	if err := id.Check(); err != nil {
		return nil, Identity{}, err
	}
	if err := a.loaded(); err != nil {
		return nil, Identity{}, err
	}
	key, hash, err := requested(csr)
	if err != nil {
		return nil, Identity{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if id.Kind == KindNode {
		if err := a.books.claim(id.Name, hash, KindNode); err != nil {
			return nil, Identity{}, err
		}
	}
	return a.issue(ctx, id, key, nil, "")
}

// Adopt enters a certificate that the CA issued before the books could be read: the head's own.
func (a *Authority) Adopt(ctx context.Context, cert *x509.Certificate) error {
	id, err := a.Verify(cert)
	if err != nil {
		return err
	}
	if err := a.loaded(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.books[id.Serial]; known {
		return nil
	}
	return a.enter(ctx, cert, id, "")
}

// Renew gives a new certificate for one that is ours and not revoked, run out or not.
// The request must come from the same key: a certificate never moves to another.
func (a *Authority) Renew(ctx context.Context, old *x509.Certificate, csr []byte) ([]byte, Identity, error) {
	id, err := a.Verify(old)
	expired := errors.Is(err, ErrExpired)
	if err != nil && !expired {
		return nil, Identity{}, err
	}
	if err := a.loaded(); err != nil {
		return nil, Identity{}, err
	}
	key, hash, err := requested(csr)
	if err != nil {
		return nil, Identity{}, err
	}
	if !key.Equal(old.PublicKey) {
		return nil, Identity{}, fault.New(fault.Denied, "the request to renew %s is signed by another key", id).
			Hint("join again with a new token: bramble token create, on the head")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.verifier.isDenied(id.Serial) { // since Verify
		return nil, Identity{}, revoked(id)
	}
	if err := a.books.mayRenew(id, hash, expired); err != nil {
		return nil, Identity{}, err
	}
	stale := a.books.superseded(id, hash, a.ca.now())
	cert, id, err := a.issue(ctx, id.party(), key, hostsOf(old), "")
	if err != nil {
		return nil, Identity{}, err
	}
	a.forget(ctx, stale)
	return cert, id, nil
}

// issue signs a certificate and enters it in the books before anyone sees it.
func (a *Authority) issue(ctx context.Context, id Identity, key *ecdsa.PublicKey, hosts []string, token string) ([]byte, Identity, error) {
	cert, err := a.ca.issue(id, key, hosts)
	if err != nil {
		return nil, Identity{}, err
	}
	id.Serial = serialOf(cert)
	if err := a.enter(ctx, cert, id, token); err != nil {
		return nil, Identity{}, err
	}
	return EncodeCertificates(cert), id, nil
}

func (a *Authority) enter(ctx context.Context, cert *x509.Certificate, id Identity, token string) error {
	key, err := p256(cert.PublicKey)
	if err != nil {
		return err
	}
	hash, err := keyHash(key)
	if err != nil {
		return err
	}
	return a.write(ctx, Record{Identity: id, Key: hash, Issued: a.ca.now().UTC(), Expires: cert.NotAfter, Token: token})
}

// requested reads a certificate request: its key, and the key's name in the books.
func requested(csr []byte) (*ecdsa.PublicKey, string, error) {
	key, err := ParseRequest(csr)
	if err != nil {
		return nil, "", err
	}
	hash, err := keyHash(key)
	return key, hash, err
}
