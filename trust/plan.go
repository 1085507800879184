package trust

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"

	"bramble/fault"
)

// books are the records of every certificate by serial.
type books map[string]Record

// any reports whether a record fits.
func (b books) any(fits func(Record) bool) bool {
	for _, rec := range b {
		if fits(rec) {
			return true
		}
	}
	return false
}

// holds reports whether the party has an unrevoked certificate for the key.
func (b books) holds(id Identity, key string) bool {
	return b.any(func(rec Record) bool {
		return rec.live() && rec.party() == id.party() && rec.Key == key
	})
}

// redeemed reports whether the token gave this very certificate before: a joiner whose
// answer was lost asks again, and that is not another use.
func (b books) redeemed(token string, id Identity, key string) bool {
	return b.any(func(rec Record) bool {
		return rec.live() && rec.Token == token && rec.party() == id.party() && rec.Key == key
	})
}

// taken reports whether another key's unrevoked certificate of one of these kinds has the name.
func (b books) taken(name, key string, kinds ...Kind) bool {
	return b.any(func(rec Record) bool {
		if !rec.live() || rec.Name != name || rec.Key == key {
			return false
		}
		for _, kind := range kinds {
			if rec.Kind == kind {
				return true
			}
		}
		return false
	})
}

// claim refuses a machine a name that another holds.
func (b books) claim(name, key string, kinds ...Kind) error {
	if !b.taken(name, key, kinds...) {
		return nil
	}
	return fault.New(fault.Conflict, "another machine is called %s", name).
		Hint("join with --name %s, or if this machine replaces that one: bramble nodes remove %s", b.free(name, key), name)
}

// free is the first of NAME-2, NAME-3, … that nobody holds.
func (b books) free(name, key string) string {
	for n := 2; ; n++ {
		suffix := fmt.Sprintf("-%d", n)
		candidate := name[:min(len(name), maxLabel-len(suffix))] + suffix
		if !b.taken(candidate, key, KindHead, KindNode) {
			return candidate
		}
	}
}

// mayRenew decides on a certificate that Verify let pass, or found only to have run out.
// One that the books do not know is younger than the backup they were restored from;
// it counts when its holder is known, or while it lasts and nobody else has the name.
func (b books) mayRenew(id Identity, key string, expired bool) error {
	if rec, known := b[id.Serial]; known {
		if !rec.live() {
			return revoked(rec.Identity)
		}
		return nil
	}
	if b.holds(id, key) {
		return nil
	}
	if expired {
		return fault.New(fault.Denied, "the head's books do not know %s, and its certificate ran out", id).
			Hint("join again with a new token: bramble token create, on the head")
	}
	if id.Kind == KindNode {
		return b.claim(id.Name, key, KindHead, KindNode)
	}
	return nil
}

// superseded are the serials of the party's run-out certificates for a key that has a newer one.
func (b books) superseded(id Identity, key string, now time.Time) []string {
	var serials []string
	for serial, rec := range b {
		if rec.live() && rec.party() == id.party() && rec.Key == key && rec.Expires.Before(now) {
			serials = append(serials, serial)
		}
	}
	return serials
}

// named are the records that a revocation of id means: one certificate, or all of a party.
func (b books) named(id Identity) []Record {
	var found []Record
	for serial, rec := range b {
		if id == (Identity{Serial: serial}) || id.Covers(rec.Identity) {
			found = append(found, rec)
		}
	}
	return found
}

func (r Record) live() bool { return r.Revoked.IsZero() }

// party is the identity without the certificate.
func (id Identity) party() Identity {
	id.Serial = ""
	return id
}

// judgeToken says why a token may not be redeemed. The secret is judged first, so that
// an ID alone teaches nothing about its token.
func judgeToken(info TokenInfo, secret []byte, now time.Time) error {
	hash := sha256.Sum256(secret)
	switch {
	case subtle.ConstantTimeCompare(hash[:], info.Hash) != 1:
		return wrongToken()
	case info.Revoked:
		return refused("the token %s was revoked", info.ID)
	case !now.Before(info.Expires):
		return refused("the token %s expired on %s", info.ID, day(info.Expires))
	}
	return nil
}

// spent says that a token may not be redeemed once more.
func spent(info TokenInfo) error {
	if info.Max == 0 || info.Uses < info.Max {
		return nil
	}
	return refused("the token %s is used up: it was good for %d", info.ID, info.Max)
}

func wrongToken() error { return refused("the head knows no such token") }

func refused(format string, args ...any) error {
	return fault.New(fault.Denied, format, args...).Hint("make a new one on the head: bramble token create")
}

// check refuses a TokenSpec that makes no sense.
func (spec TokenSpec) check() error {
	switch {
	case spec.Kind == KindNode && (spec.User != "" || spec.Role != ""):
		return fault.New(fault.Misused, "a token for nodes has no user and no role")
	case spec.Kind == KindClient:
		if err := (Identity{Kind: KindClient, Name: spec.User, Role: spec.Role}).Check(); err != nil {
			return err
		}
	case spec.Kind != KindNode:
		return fault.New(fault.Misused, "there are no tokens for the kind %s", shown(string(spec.Kind))).
			Hint("one of %s and %s", KindNode, KindClient)
	}
	if spec.TTL < 0 || spec.Max < 0 {
		return fault.New(fault.Misused, "a token cannot last %s or be good for %d", spec.TTL, spec.Max)
	}
	return nil
}
