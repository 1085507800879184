package trust

import (
	"context"
	"errors"
	"slices"

	"bramble/fault"
)

// OnRevoke has fn called after each revocation, with the one certificate, or without a
// Serial when it was the whole party: fn cuts every connection of which revoked.Covers is true.
func (a *Authority) OnRevoke(fn func(revoked Identity)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onRevoke = append(a.onRevoke, fn)
}

// RevokeNode refuses every certificate of the node from now on and frees its name.
func (a *Authority) RevokeNode(ctx context.Context, name string) error {
	return a.Revoke(ctx, Identity{Kind: KindNode, Name: name})
}

// Revoke refuses certificates from now on: with a Serial that one; without, all of the
// party's, and for a client the tokens made for that user. Serial alone will do.
// fault.NotFound: the books know none. An error that says it is not on disk means that
// the certificate is refused until the head's next start: revoke again.
func (a *Authority) Revoke(ctx context.Context, id Identity) error {
	if err := a.loaded(); err != nil {
		return err
	}
	id, callbacks, err := a.revoke(ctx, id)
	for _, fn := range callbacks {
		fn(id)
	}
	return err
}

// revoke returns whom it revoked, and the callbacks when there is something to tell them.
func (a *Authority) revoke(ctx context.Context, id Identity) (Identity, []func(Identity), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	records := a.books.named(id)
	if len(records) == 0 && isSerial(id.Serial) && id.Check() == nil {
		records = []Record{{Identity: id}} // unknown since a backup was restored
	}
	if len(records) > 0 && id.Serial != "" {
		id = records[0].Identity
	}
	if id.Kind == KindHead {
		return id, nil, fault.New(fault.Misused, "a head cannot be revoked: whoever has its files has the CA's key too").
			Hint("make a new cluster: bramble up --state DIR")
	}
	for _, rec := range records { // first of all, even if the Store fails
		a.verifier.Deny(rec.Serial)
	}
	var failed error
	for _, rec := range records {
		failed = errors.Join(failed, a.mark(ctx, rec))
	}
	tokens, err := a.revokeTokens(ctx, id)
	failed = errors.Join(failed, err)
	if len(records) == 0 && tokens == 0 && failed == nil {
		return id, nil, fault.New(fault.NotFound, "there is no certificate of %s", whom(id)).Hint("bramble nodes, or bramble client list")
	}
	if failed != nil {
		failed = fault.New(fault.Failed, "%s is refused from now on, but that is not on disk: %w", whom(id), failed).
			Hint("mend the head's disk and do it again: bramble doctor")
	}
	return id, slices.Clone(a.onRevoke), failed
}

// mark enters a revocation; one that is there keeps its time.
func (a *Authority) mark(ctx context.Context, rec Record) error {
	if !rec.live() {
		return nil
	}
	rec.Revoked = a.ca.now().UTC()
	return a.write(ctx, rec)
}

// revokeTokens ends the tokens of a client who is revoked as a whole, and counts them.
func (a *Authority) revokeTokens(ctx context.Context, id Identity) (int, error) {
	if id.Kind != KindClient || id.Serial != "" {
		return 0, nil
	}
	infos, err := a.tokenInfos(ctx)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, info := range infos {
		if info.User != id.Name || info.Revoked {
			continue
		}
		if err := a.endToken(ctx, info); err != nil {
			return count, err
		}
		count++
	}
	return count, nil
}

// whom names a party or a certificate that may be known by its serial alone.
func whom(id Identity) string {
	switch {
	case id.Kind == "":
		return "serial " + shown(id.Serial)
	case id.Kind == KindClient:
		return "client " + shown(id.Name)
	}
	return string(id.Kind) + " " + shown(id.Name)
}
