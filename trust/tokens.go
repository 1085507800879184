package trust

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"bramble/fault"
	"bramble/sorts"
)

// keptTokens is how long an ended token is listed.
const keptTokens = 30 * 24 * time.Hour

// CreateToken makes a token; its secret is in the Token alone and cannot be had again.
func (a *Authority) CreateToken(ctx context.Context, spec TokenSpec) (Token, TokenInfo, error) {
	if err := spec.check(); err != nil {
		return Token{}, TokenInfo{}, err
	}
	token := newToken(PinOf(a.ca.cert))
	hash := sha256.Sum256(token.Secret[:])
	now := a.ca.now().UTC()
	ttl := spec.TTL
	if ttl == 0 {
		ttl = DefaultTokenTTL
	}
	info := TokenInfo{
		ID: token.ID, Kind: spec.Kind, User: spec.User, Role: spec.Role,
		Created: now, Expires: now.Add(ttl), Max: spec.Max, Hash: hash[:],
	}
	text, err := json.Marshal(info)
	if err != nil {
		return Token{}, TokenInfo{}, fault.New(fault.Failed, "write a token: %w", err)
	}
	if err := a.store.Create(ctx, tokenKeys+info.ID, text); err != nil {
		return Token{}, TokenInfo{}, fmt.Errorf("write the token in the books: %w", err)
	}
	return token, info.public(), nil
}

// Tokens lists the tokens, oldest first, those that ended within the last 30 days included.
func (a *Authority) Tokens(ctx context.Context) ([]TokenInfo, error) {
	infos, err := a.tokenInfos(ctx)
	for i := range infos {
		infos[i] = infos[i].public()
	}
	return infos, err
}

// RevokeToken ends a token now; certificates that were got with it stay.
func (a *Authority) RevokeToken(ctx context.Context, id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := a.tokenInfo(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "there is no token %s", shown(id)).Hint("bramble token list")
	}
	if err != nil {
		return err
	}
	return a.endToken(ctx, info)
}

// SignIn redeems a client token for an identity without a certificate: a dashboard's session. It counts as a use.
func (a *Authority) SignIn(ctx context.Context, token Token) (Identity, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := a.token(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if info.Kind != KindClient {
		return Identity{}, fault.New(fault.Denied, "the token %s joins nodes and signs nobody in", info.ID).
			Hint("make one for a person on the head: bramble token create --help")
	}
	if _, err := a.spend(ctx, info); err != nil {
		return Identity{}, err
	}
	return Identity{Kind: KindClient, Name: info.User, Role: info.Role}, nil
}

// token reads the books on a token and judges all but its uses.
func (a *Authority) token(ctx context.Context, token Token) (TokenInfo, error) {
	if err := a.loaded(); err != nil {
		return TokenInfo{}, err
	}
	if token.CA != PinOf(a.ca.cert) {
		return TokenInfo{}, refused("the token is another cluster's")
	}
	info, err := a.tokenInfo(ctx, token.ID)
	if fault.Is(err, fault.NotFound) {
		return TokenInfo{}, wrongToken()
	}
	if err != nil {
		return TokenInfo{}, err
	}
	return info, judgeToken(info, token.Secret[:], a.ca.now())
}

// spend counts a use before it is granted, so that a crash never gives one away; giveBack takes the count back.
func (a *Authority) spend(ctx context.Context, info TokenInfo) (giveBack func(), err error) {
	if err := spent(info); err != nil {
		return nil, err
	}
	before := info
	info.Uses++
	if err := put(ctx, a.store, tokenKeys+info.ID, info); err != nil {
		return nil, err
	}
	return func() { _ = put(context.WithoutCancel(ctx), a.store, tokenKeys+info.ID, before) }, nil
}

func (a *Authority) endToken(ctx context.Context, info TokenInfo) error {
	info.Revoked = true
	return put(ctx, a.store, tokenKeys+info.ID, info)
}

// tokenInfo reads one token; an ID that is none is fault.NotFound like one that nobody has.
func (a *Authority) tokenInfo(ctx context.Context, id string) (TokenInfo, error) {
	if len(id) != tokenIDText || !isLabel(id) {
		return TokenInfo{}, fault.New(fault.NotFound, "%s is not a token's ID", shown(id))
	}
	text, err := a.store.Get(ctx, tokenKeys+id)
	if err != nil {
		return TokenInfo{}, err
	}
	return readToken(id, text)
}

func (a *Authority) tokenInfos(ctx context.Context) ([]TokenInfo, error) {
	found, err := a.store.List(ctx, tokenKeys)
	if err != nil {
		return nil, fmt.Errorf("read the tokens' books: %w", err)
	}
	infos := make([]TokenInfo, 0, len(found))
	for key, text := range found {
		info, err := readToken(key, text)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	sorts.By(infos, func(x, y TokenInfo) int {
		return cmp.Or(x.Created.Compare(y.Created), strings.Compare(x.ID, y.ID))
	})
	return infos, nil
}

// dropTokens deletes tokens that expired long ago.
func (a *Authority) dropTokens(ctx context.Context) error {
	infos, err := a.tokenInfos(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if a.ca.now().Sub(info.Expires) < keptTokens {
			continue
		}
		if err := a.store.Delete(ctx, tokenKeys+info.ID); err != nil {
			return fmt.Errorf("forget an old token: %w", err)
		}
	}
	return nil
}

// public leaves the hash in the books.
func (info TokenInfo) public() TokenInfo {
	info.Hash = nil
	return info
}

func readToken(key string, text []byte) (TokenInfo, error) {
	var info TokenInfo
	if err := json.Unmarshal(text, &info); err != nil {
		return TokenInfo{}, fault.New(fault.Failed, "the books are damaged at token %s: %w", key, err)
	}
	return info, nil
}
