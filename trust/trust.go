// Package trust decides who may say what: the cluster's certificate authority,
// join tokens, certificates, roles, sign-in and revocation. It knows no network
// but TLS and no storage but the small Store it is handed.
package trust

import (
	"context"
	"time"
)

// Kind is what sort of party a certificate speaks for.
type Kind string

const (
	KindHead   Kind = "head"   // the machine that carries the bus
	KindNode   Kind = "node"   // any member machine
	KindClient Kind = "client" // a person's command line, page or program
)

// Role is what a client may ask for; each includes the ones before it.
type Role string

const (
	Viewer   Role = "viewer"   // may read
	Operator Role = "operator" // may also run and submit
	Admin    Role = "admin"    // may also change the cluster and act as root
)

// Includes reports whether r may do what other may.
func (r Role) Includes(other Role) bool { return rank(r) >= rank(other) && rank(other) > 0 }

func rank(r Role) int {
	switch r {
	case Viewer:
		return 1
	case Operator:
		return 2
	case Admin:
		return 3
	}
	return 0
}

// Identity is who is speaking. In a certificate it is one URI name:
// bramble://head/NAME, bramble://node/NAME or bramble://client/USER/ROLE.
type Identity struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`             // node name, or user name: one lower-case DNS label
	Role   Role   `json:"role,omitempty"`   // clients only
	Serial string `json:"serial,omitempty"` // the certificate's serial number in hex; what a revocation names
}

// Store keeps the authority's books; keys are dotted lower-case words, such as token.k3x9t0qa.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error) // fault.NotFound when there is none
	Put(ctx context.Context, key string, value []byte) error
	Create(ctx context.Context, key string, value []byte) error // fault.Conflict when there is one
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string) (map[string][]byte, error) // every key that begins with prefix, such as "cert."
}

// TokenInfo is what is kept of a token: never its secret, only the secret's hash.
type TokenInfo struct {
	ID      string    `json:"id"` // eight characters, also the token's first part
	Kind    Kind      `json:"kind"`
	User    string    `json:"user,omitempty"` // for client tokens
	Role    Role      `json:"role,omitempty"` // for client tokens
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Uses    int       `json:"uses"` // how often it was redeemed
	Max     int       `json:"max"`  // how often it may be redeemed; 0: any number of times
	Revoked bool      `json:"revoked,omitempty"`
	Hash    []byte    `json:"hash,omitempty"` // SHA-256 of the secret; only in the books
}

// TokenSpec is what a token is asked to be.
type TokenSpec struct {
	Kind Kind          // KindNode or KindClient
	User string        // for client tokens
	Role Role          // for client tokens
	TTL  time.Duration // 0: DefaultTokenTTL
	Max  int           // how often it may be redeemed; 0: any number of times
}

// DefaultTokenTTL is how long a token lasts unless its maker says otherwise.
const DefaultTokenTTL = 24 * time.Hour

// Record is what the books say of one certificate. A name belongs to the key of its
// unrevoked records, run out or not: only removal frees it.
type Record struct {
	Identity
	Key     string    `json:"key"` // hex SHA-256 of the SubjectPublicKeyInfo
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Token   string    `json:"token,omitempty"`  // ID of the token it was got with
	Revoked time.Time `json:"revoked,omitzero"` // since when it is refused
}
